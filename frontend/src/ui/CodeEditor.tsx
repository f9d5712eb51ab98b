import { Text } from "@mantine/core";
import { lazy, Suspense } from "react";
import type { EditorProps } from "./editor/Editor";
import { Waiting } from "./states";

const Editor = lazy(() => import("./editor/Editor"));

export function CodeEditor(props: EditorProps) {
  const short = props.language === "template";
  return (
    <div>
      <Suspense fallback={<Waiting lines={short ? 1 : 6} />}>
        <Editor {...props} />
      </Suspense>
      {!short && (
        <Text size="xs" c="dimmed" mt={2}>
          Tab leaves the editor.
        </Text>
      )}
    </div>
  );
}
