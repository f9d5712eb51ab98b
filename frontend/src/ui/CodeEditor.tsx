import { Text } from "@mantine/core";
import { lazy, Suspense } from "react";
import type { EditorProps } from "./editor/Editor";
import { Waiting } from "./states";

const Editor = lazy(() => import("./editor/Editor"));

export function CodeEditor(props: EditorProps) {
  return (
    <div>
      <Suspense fallback={<Waiting lines={6} />}>
        <Editor {...props} />
      </Suspense>
      <Text size="xs" c="dimmed" mt={2}>
        Tab leaves the editor.
      </Text>
    </div>
  );
}
