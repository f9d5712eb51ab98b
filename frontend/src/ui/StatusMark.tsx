import { Badge } from "@mantine/core";

const COLOURS: Record<string, string> = {
  Improved: "green",
  Done: "green",
  Failed: "red",
  Running: "accent",
  Paused: "orange",
  Pausing: "orange",
};
const SIGNS: Record<string, string> = {
  Improved: "▲",
  Done: "✓",
  Failed: "✕",
  Running: "●",
  Paused: "‖",
  Pausing: "‖",
  "No measurable gain": "=",
};

/** A state in a word, with a sign, so that colour is never the only difference. */
export function StatusMark({ word }: { word: string }) {
  return (
    <Badge variant="light" color={COLOURS[word] ?? "gray"} tt="none" fw={600} radius="sm">
      <span aria-hidden="true">{SIGNS[word] ?? "○"}</span> {word}
    </Badge>
  );
}
