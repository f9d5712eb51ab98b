import { Anchor, NativeSelect, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import { FIELDS, type Field } from "@/api/hyperparameters";
import { number } from "@/ui/format";
import { Section } from "@/ui/Page";
import type { Form } from "./request";

interface ParametersProps {
  form: Form;
  problems: Record<string, string>;
  /** Of a preflight of exactly this job: what every auto resolves to. */
  plan: Record<string, unknown> | null;
  onChange: (set: Record<string, string>) => void;
}

const GROUPS = [
  ["limits", "How long"],
  ["sampling", "Sampling"],
  ["learning", "Learning"],
] as const;

/** Every parameter on auto unless set; beside each what auto becomes, as far as it is known now. */
export function Parameters({ form, problems, plan, onChange }: ParametersProps) {
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
      lead={
        plan
          ? "What auto becomes is what the preflight found for exactly this job."
          : "Empty means auto. A preflight says exactly what each auto becomes; without one, the job says it when it starts."
      }
      actions={
        <Anchor component="button" type="button" size="sm" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? "Show fewer" : "Show all"}
        </Anchor>
      }
    >
      <Stack gap="lg">
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
  onChange: (text: string) => void;
}

function Parameter({ field, value, error, planned, onChange }: ParameterProps) {
  const known = planned === undefined || planned === null ? null : shortOf(planned);
  // Where the reason begins with the value, it is not said twice.
  const said = known !== null && !field.auto.toLowerCase().startsWith(known) ? `${known}. ${field.auto}` : field.auto;
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
