import { Text } from "@mantine/core";
import { useMemo } from "react";
import type { RolloutShape } from "@/api/schema";
import { number } from "@/ui/format";
import { textDiff } from "@/ui/text-diff";
import { Untrusted } from "@/ui/Untrusted";
import classes from "./rollouts.module.css";

/** An answer with what came and what went since an earlier one to the same prompt. */
export function Changes({ before, after }: { before: RolloutShape; after: RolloutShape }) {
  const parts = useMemo(() => textDiff(before.text, after.text), [before.text, after.text]);
  return (
    <>
      <Text size="xs" c="dimmed">
        {parts.every((part) => part.kind === "same") ? "The same as" : "Compared with"} step {before.step}, reward{" "}
        {before.reward === null ? "–" : number(before.reward)}
      </Text>
      {parts.map((part, index) => {
        const Tag = part.kind === "added" ? "ins" : part.kind === "removed" ? "del" : "span";
        return (
          // biome-ignore lint/suspicious/noArrayIndexKey: the parts of one comparison never move
          <Tag key={index} className={part.kind === "same" ? undefined : classes[part.kind]}>
            <Untrusted text={part.text} />
          </Tag>
        );
      })}
    </>
  );
}
