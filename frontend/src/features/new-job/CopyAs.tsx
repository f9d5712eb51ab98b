import { Button, Code, CopyButton, Group, SegmentedControl, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { Dialog } from "@/ui/Dialog";
import { type Body, copyOf, type Language } from "./request";

const LANGUAGES: { value: Language; label: string }[] = [
  { value: "python", label: "Python" },
  { value: "cli", label: "CLI" },
  { value: "curl", label: "curl" },
  { value: "json", label: "JSON" },
];

/** The form is one way to say it; the others make exactly the same job. */
export function CopyAs({ body, complete }: { body: Body; complete: boolean }) {
  const [open, setOpen] = useState(false);
  const [language, setLanguage] = useState<Language>("python");
  const text = copyOf(body, language, window.location.origin);
  return (
    <>
      <Button variant="default" onClick={() => setOpen(true)}>
        Copy as code
      </Button>
      {open && (
        <Dialog title="This job as code" size="lg" onClose={() => setOpen(false)}>
          <Stack>
            {!complete && <Text size="sm">Something is still missing in the form; the code misses it too.</Text>}
            <Group justify="space-between">
              <SegmentedControl
                aria-label="Language"
                value={language}
                onChange={(next) => setLanguage(next as Language)}
                data={LANGUAGES}
              />
              <CopyButton value={text}>
                {({ copied, copy }) => <Button onClick={copy}>{copied ? "Copied" : "Copy"}</Button>}
              </CopyButton>
            </Group>
            <Code block mah="55vh" style={{ overflow: "auto" }} tabIndex={0} aria-label="Code">
              {text}
            </Code>
          </Stack>
        </Dialog>
      )}
    </>
  );
}
