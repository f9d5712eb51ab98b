import { Alert, Anchor, NativeSelect, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import { FIELDS, type Field } from "@/api/hyperparameters";
import { number } from "@/ui/format";
import { Section } from "@/ui/Page";
import { Presets } from "./Presets";
import type { Form } from "./request";

interface ParametersProps {
  form: Form;
  problems: Record<string, string>;
  /** Of exactly this job: what every auto resolves to, and why. */
  plan: Record<string, unknown> | null;
  reasons: Record<string, string>;
  /** What is to be said about the plan: that it is being worked out, or why there is none. */
  state: string;
  error?: string;
  onChange: (set: Record<string, string>) => void;
}

const GROUPS = [
  ["limits", "How long"],
  ["sampling", "Sampling"],
  ["learning", "Learning"],
] as const;

/** Every parameter on auto unless set; beside each what auto becomes, as far as it is known now. */
export function Parameters({ form, problems, plan, reasons, state, error, onChange }: ParametersProps) {
  const fields = FIELDS.filter((field) => form.method === "reinforcement" || field.supervised);
  const [all, setAll] = useState(false);
  const change = (name: string, text: string) => {
    const { [name]: _, ...rest } = form.set;
    onChange(text === "" ? rest : { ...rest, [name]: text });
  };
  const shown = GROUPS.filter(
    ([group]) =>
      all || group === "limits" || fields.some((one) => one.group === group && form.set[one.name] !== undefined),
  );
  return (
    <Section
      title="Parameters and limits"
      lead={<span role="status">{state}</span>}
      actions={
        <Anchor component="button" type="button" size="sm" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? "Show fewer" : "Show all"}
        </Anchor>
      }
    >
      <Stack gap="lg">
        <Presets form={form} onChange={onChange} />
        {error && (
          <Alert color="red" role="alert" title="The job would be refused">
            {error}
          </Alert>
        )}
        {shown.map(([group, label]) => (
          <Stack gap="xs" key={group}>
            <Text size="sm" fw={600}>
              {label}
            </Text>
            <SimpleGrid cols={{ base: 1, xs: 2, md: 3 }} verticalSpacing="md">
              {fields
                .filter((field) => field.group === group)
                .map((field) => (
                  <Parameter
                    key={field.name}
                    field={field}
                    value={form.set[field.name] ?? ""}
                    error={problems[field.name]}
                    planned={plan ? plan[field.plan ?? field.name] : undefined}
                    reason={reasons[field.name]}
                    onChange={(text) => change(field.name, text)}
                  />
                ))}
            </SimpleGrid>
          </Stack>
        ))}
      </Stack>
    </Section>
  );
}

interface ParameterProps {
  field: Field;
  value: string;
  error?: string;
  planned: unknown;
  reason?: string;
  onChange: (text: string) => void;
}

function Parameter({ field, value, error, planned, reason, onChange }: ParameterProps) {
  const known = planned === undefined || planned === null ? null : shortOf(planned);
  const why = reason ?? field.auto;
  // Where the reason begins with the value, it is not said twice.
  const said = known !== null && !why.toLowerCase().startsWith(known) ? `${known} – ${why}` : why;
  const about = value === "" ? `auto: ${said}` : "set by hand";
  const label = <span style={{ fontWeight: value === "" ? 400 : 700 }}>{field.label}</span>;
  const order: ("label" | "input" | "description" | "error")[] = ["label", "input", "description", "error"];
  if (field.kind === "integer" || field.kind === "number") {
    return (
      <TextInput
        label={label}
        description={about}
        inputWrapperOrder={order}
        inputMode={field.kind === "integer" ? "numeric" : "decimal"}
        placeholder={known ?? "auto"}
        value={value}
        error={error}
        onChange={(event) => onChange(event.currentTarget.value)}
      />
    );
  }
  const choices = field.kind === "boolean" ? ["true", "false"] : field.kind;
  return (
    <NativeSelect
      label={label}
      description={about}
      inputWrapperOrder={order}
      value={value}
      data={[{ value: "", label: "auto" }, ...choices.map((one) => ({ value: one, label: WORDS[one] ?? one }))]}
      onChange={(event) => onChange(event.currentTarget.value)}
    />
  );
}

const WORDS: Record<string, string> = { true: "on", false: "off" };

function shortOf(value: unknown): string {
  if (typeof value === "number") return number(value);
  return typeof value === "boolean" ? (value ? "on" : "off") : String(value);
}
