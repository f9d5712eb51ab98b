import { Alert, Button, Code, CopyButton, Group, Text } from "@mantine/core";
import type { ReactNode } from "react";

/** Something that is shown this once: a new key, a link. */
export function Secret({ title, value, children }: { title: string; value: string; children?: ReactNode }) {
  return (
    <Alert color="green" title={title} role="status">
      <Text size="sm" mb="xs" component="div">
        {children}
      </Text>
      <Group gap="xs">
        <Code style={{ overflowWrap: "anywhere" }}>{value}</Code>
        <Copy text={value} />
      </Group>
    </Alert>
  );
}

export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  return (
    <CopyButton value={text}>
      {({ copied, copy }) => (
        <Button size="compact-sm" variant="default" onClick={copy}>
          {copied ? "Copied" : label}
        </Button>
      )}
    </CopyButton>
  );
}
