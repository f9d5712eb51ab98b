import { Badge, Stack, Text, UnstyledButton } from "@mantine/core";
import { useQueries } from "@tanstack/react-query";
import { useState } from "react";
import type { Reply } from "@/api/chat";
import { number } from "@/ui/format";
import { Thinking } from "@/ui/Thinking";
import { Untrusted } from "@/ui/Untrusted";
import { bestOf } from "./best-of";
import { gradeQuery, useGrader } from "./grading";

interface BestOfProps {
  replies: readonly Reply[];
  model: string;
  known: readonly string[];
  item: Record<string, unknown> | null;
}

/** Several answers of one model: the one with the highest grade, or that most agree on, and all the others. */
export function BestOf({ replies, model, known, item }: BestOfProps) {
  const [all, setAll] = useState(false);
  const grader = useGrader(model, known);
  const grades = useQueries({ queries: replies.map((reply) => gradeQuery(grader, item, reply.content)) });
  const rewards = grades.map(({ data }) => (data && !data.failed ? data.reward : null));
  if (grades.some((grade) => grade.isFetching)) return <Text size="sm">Grading {replies.length} answers…</Text>;
  const { best, alike, mean, numGraded } = bestOf(
    replies.map((reply) => reply.content),
    rewards,
  );
  const chosen = replies[best];
  if (!chosen) return null;
  return (
    <Stack gap="xs">
      {chosen.reasoning && <Thinking text={chosen.reasoning} />}
      <Untrusted text={chosen.content} />
      <Text size="sm" component="div">
        {mean === null ? (
          `The answer that most give: ${alike} of ${replies.length}.`
        ) : (
          <>
            <Badge color={rewards[best]! > 0 ? "green" : "orange"} size="lg">
              reward {number(rewards[best])}
            </Badge>{" "}
            The best of {replies.length} by the grader; on average they get {number(mean)}
            {numGraded < replies.length && `, ${replies.length - numGraded} could not be graded`}. {alike} of{" "}
            {replies.length} say this.
          </>
        )}
      </Text>
      <UnstyledButton aria-expanded={all} onClick={() => setAll(!all)}>
        <Text size="sm" c="dimmed">
          {all ? "▾" : "▸"} All {replies.length} answers
        </Text>
      </UnstyledButton>
      {all && (
        <Stack component="ol" gap={6} m={0} pl="lg">
          {replies.map((reply, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: the answers to one question never move
            <Text key={index} component="li" size="sm">
              {rewards[index] !== null && <b>{number(rewards[index])} </b>}
              <Untrusted text={reply.content} />
            </Text>
          ))}
        </Stack>
      )}
    </Stack>
  );
}
