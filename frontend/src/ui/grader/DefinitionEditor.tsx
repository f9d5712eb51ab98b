import { Alert, Tabs } from "@mantine/core";
import { useState } from "react";
import { CodeEditor } from "../CodeEditor";
import { DefinitionForm } from "./DefinitionForm";
import type { Definition } from "./kinds";

interface EditorProps {
  definition: Definition;
  onChange: (next: Definition) => void;
}

/** The form and the JSON of one definition, each showing what the other changed. */
export function DefinitionEditor({ definition, onChange }: EditorProps) {
  const [text, setText] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  return (
    <Tabs
      defaultValue="form"
      keepMounted={false}
      onChange={() => {
        setText(null);
        setError(null);
      }}
    >
      <Tabs.List>
        <Tabs.Tab value="form">Form</Tabs.Tab>
        <Tabs.Tab value="json">JSON</Tabs.Tab>
      </Tabs.List>
      <Tabs.Panel value="form" pt="md">
        <DefinitionForm definition={definition} onChange={onChange} />
      </Tabs.Panel>
      <Tabs.Panel value="json" pt="md">
        <CodeEditor
          label="Definition as JSON"
          language="json"
          value={text ?? JSON.stringify(definition, null, 2)}
          onChange={(typed) => {
            setText(typed);
            try {
              const parsed = JSON.parse(typed);
              if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed))
                throw new Error("expected an object {...}");
              setError(null);
              onChange(parsed);
            } catch (failure) {
              setError((failure as Error).message);
            }
          }}
        />
        {error && (
          <Alert color="orange" mt="xs" role="status">
            Not valid JSON, so the last valid definition is used: {error}
          </Alert>
        )}
      </Tabs.Panel>
    </Tabs>
  );
}
