import {
  Box,
  Button,
  Fieldset,
  Group,
  Input,
  NumberInput,
  Select,
  Stack,
  Switch,
  Text,
  Textarea,
  TextInput,
} from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { modelsQuery } from "@/api/models";
import { CodeEditor } from "../CodeEditor";
import { type Definition, type Field, KINDS, kindOf, withField } from "./kinds";

interface FormProps {
  definition: Definition;
  onChange: (definition: Definition) => void;
  /** Inside a multi there is no other multi. */
  nested?: boolean;
}

/** A form for one kind of grader. It edits the same object as the JSON beside it. */
export function DefinitionForm({ definition, onChange, nested = false }: FormProps) {
  const kind = kindOf(definition);
  const kinds = KINDS.filter((one) => !nested || one.type !== "multi");
  return (
    <Stack gap="sm">
      <Select
        label="Kind"
        description={kind?.says}
        allowDeselect={false}
        data={kinds.map((one) => one.type)}
        maxDropdownHeight={360}
        renderOption={({ option }) => (
          <div>
            <Text size="sm">{option.value}</Text>
            <Text size="xs" opacity={0.8}>
              {kinds.find((one) => one.type === option.value)?.says}
            </Text>
          </div>
        )}
        value={kind?.type ?? null}
        onChange={(type) => {
          const chosen = KINDS.find((one) => one.type === type);
          if (chosen && chosen.type !== definition.type) onChange(chosen.example);
        }}
      />
      {kind?.fields.map((field) => (
        <FieldInput
          key={`${kind.type}.${field.name}`}
          field={field}
          value={definition[field.name]}
          onChange={(value) => onChange(withField(definition, field.name, value))}
        />
      ))}
      {!kind && <Text size="sm">There is no form for this kind; its JSON can be edited.</Text>}
    </Stack>
  );
}

interface FieldProps {
  field: Field;
  value: unknown;
  onChange: (value: unknown) => void;
}

function FieldInput({ field, value, onChange }: FieldProps) {
  const shared = { label: field.label, description: field.hint };
  switch (field.kind) {
    case "choice":
      return (
        <Select
          {...shared}
          allowDeselect={false}
          data={field.choices.map((one) => ({ value: one, label: field.words?.[one] ?? one }))}
          value={typeof value === "string" ? value : (field.choices[0] ?? null)}
          onChange={onChange}
        />
      );
    case "number":
      return (
        <NumberInput
          {...shared}
          value={typeof value === "number" ? value : ""}
          onChange={(next) => onChange(next === "" ? undefined : Number(next))}
        />
      );
    case "flag":
      return (
        <Switch
          label={field.label}
          checked={value === true}
          onChange={(event) => onChange(event.currentTarget.checked)}
        />
      );
    case "lines":
      return (
        <Textarea
          {...shared}
          autosize
          minRows={2}
          value={Array.isArray(value) ? value.join("\n") : ""}
          onChange={(event) =>
            onChange(event.currentTarget.value.split("\n").filter((line, at, all) => line || at < all.length - 1))
          }
        />
      );
    case "model":
      return <ModelSelect label={field.label} value={value} onChange={onChange} />;
    case "python":
      return (
        <div>
          <Title {...shared} />
          <CodeEditor label={field.label} language="python" value={String(value ?? "")} onChange={onChange} />
        </div>
      );
    case "template":
      return (
        <div>
          <Title {...shared} />
          <CodeEditor label={field.label} language="template" value={String(value ?? "")} onChange={onChange} />
        </div>
      );
    case "json":
      return <JsonField field={field} value={value} onChange={onChange} />;
    case "messages":
      return <Messages label={field.label} value={value} onChange={onChange} />;
    case "graders":
      return <Graders value={value} onChange={onChange} />;
    default:
      return (
        <Textarea
          {...shared}
          autosize
          minRows={1}
          styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)", fontSize: "0.8125rem" } }}
          value={value === undefined ? "" : String(value)}
          onChange={(event) => onChange(event.currentTarget.value)}
        />
      );
  }
}

/** Of an editor, which has its name in itself. */
function Title({ label, description }: { label: string; description?: string }) {
  return (
    <>
      <Input.Label component="div">{label}</Input.Label>
      {description && <Input.Description mb={4}>{description}</Input.Description>}
    </>
  );
}

function ModelSelect({
  label,
  value,
  onChange,
}: {
  label: string;
  value: unknown;
  onChange: (value: unknown) => void;
}) {
  const models = useQuery(modelsQuery);
  const known = models.data?.map((model) => model.id) ?? [];
  const chosen = typeof value === "string" && value ? value : null;
  return (
    <Select
      label={label}
      description="A model of this server, or one elsewhere that the operator allows"
      searchable
      data={chosen && !known.includes(chosen) ? [...known, chosen] : known}
      value={chosen}
      onChange={onChange}
    />
  );
}

/** JSON inside the form. While it is not valid the definition keeps its last valid value. */
function JsonField({ field, value, onChange }: FieldProps) {
  const written = value === undefined ? "" : JSON.stringify(value, null, 2);
  const [text, setText] = useState(written);
  const [last, setLast] = useState(written);
  const [error, setError] = useState<string | null>(null);
  if (written !== last) {
    setLast(written);
    setText(written);
    setError(null);
  }
  return (
    <Textarea
      label={field.label}
      description={field.hint}
      autosize
      minRows={3}
      maxRows={20}
      error={error}
      value={text}
      onChange={(event) => {
        const typed = event.currentTarget.value;
        setText(typed);
        try {
          const parsed = typed.trim() ? JSON.parse(typed) : undefined;
          setError(null);
          setLast(parsed === undefined ? "" : JSON.stringify(parsed, null, 2));
          onChange(parsed);
        } catch (failure) {
          setError((failure as Error).message);
        }
      }}
    />
  );
}

interface JudgeMessage {
  role: string;
  content: unknown;
}

function Messages({ label, value, onChange }: { label: string; value: unknown; onChange: (value: unknown) => void }) {
  const messages = Array.isArray(value) ? (value as JudgeMessage[]) : [];
  const change = (index: number, part: Partial<JudgeMessage>) =>
    onChange(messages.map((message, at) => (at === index ? { ...message, ...part } : message)));
  return (
    <Fieldset legend={label}>
      <Stack gap="xs">
        {messages.map((message, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a message is its place
          <Group key={index} align="flex-start" wrap="nowrap" gap="xs">
            <Select
              aria-label={`Role of message ${index + 1}`}
              w={120}
              allowDeselect={false}
              data={["developer", "user", "assistant", "system"]}
              value={message.role}
              onChange={(role) => role && change(index, { role })}
            />
            <Box flex={1} miw={0}>
              {typeof message.content === "string" ? (
                <CodeEditor
                  label={`Message ${index + 1}`}
                  language="template"
                  value={message.content}
                  onChange={(content) => change(index, { content })}
                />
              ) : (
                <Text size="xs">Several parts: they can be edited as JSON.</Text>
              )}
            </Box>
            <Button
              variant="default"
              size="xs"
              aria-label={`Remove message ${index + 1}`}
              onClick={() => onChange(messages.filter((_, at) => at !== index))}
            >
              ×
            </Button>
          </Group>
        ))}
        <Button
          variant="default"
          size="xs"
          style={{ alignSelf: "flex-start" }}
          onClick={() => onChange([...messages, { role: "user", content: "" }])}
        >
          Add a message
        </Button>
      </Stack>
    </Fieldset>
  );
}

function Graders({ value, onChange }: { value: unknown; onChange: (value: unknown) => void }) {
  const graders = Object.entries((value ?? {}) as Record<string, Definition>);
  const put = (entries: [string, Definition][]) => onChange(Object.fromEntries(entries));
  const free = () => {
    for (let index = graders.length + 1; ; index += 1) {
      if (!graders.some(([name]) => name === `part_${index}`)) return `part_${index}`;
    }
  };
  return (
    <Stack gap="sm">
      {graders.map(([name, definition], index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: its name is being edited, its place stays
        <Fieldset key={index} legend={`Grader ${index + 1}`}>
          <Stack gap="sm">
            <Group align="flex-end">
              <TextInput
                label="Name in the formula"
                value={name}
                onChange={(event) =>
                  put(graders.map((one, at) => (at === index ? [event.currentTarget.value, definition] : one)))
                }
              />
              <Button
                variant="default"
                size="xs"
                disabled={graders.length < 2}
                aria-label={`Remove ${name}`}
                onClick={() => put(graders.filter((_, at) => at !== index))}
              >
                Remove
              </Button>
            </Group>
            <DefinitionForm
              nested
              definition={definition}
              onChange={(next) => put(graders.map((one, at) => (at === index ? [name, next] : one)))}
            />
          </Stack>
        </Fieldset>
      ))}
      <Button
        variant="default"
        size="xs"
        style={{ alignSelf: "flex-start" }}
        onClick={() => put([...graders, [free(), KINDS[0]!.example]])}
      >
        Add a grader
      </Button>
    </Stack>
  );
}
