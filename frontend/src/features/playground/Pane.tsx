import { ActionIcon, Alert, Badge, Group, Paper, Select, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { EMPTY_REPLY, type Reply, sampleChat, streamChat } from "@/api/chat";
import { number, plural } from "@/ui/format";
import { Thinking } from "@/ui/Thinking";
import { Untrusted } from "@/ui/Untrusted";
import { BestOf } from "./BestOf";
import { gradeQuery, useGrader } from "./grading";
import type { Question } from "./PlaygroundPage";

interface PaneProps {
  model: string;
  known: string[];
  question: Question | null;
  signal: AbortSignal;
  onModel: (id: string) => void;
  onRemove?: () => void;
  onEnd: () => void;
}

/** One model's answer, as it is written. */
export function Pane({ model, known, question, signal, onModel, onRemove, onEnd }: PaneProps) {
  const [reply, setReply] = useState<Reply>(EMPTY_REPLY);
  const [many, setMany] = useState<Reply[] | null>(null);
  const [seconds, setSeconds] = useState<number | null>(null);
  const [error, setError] = useState<string | null>(null);
  const current = useRef({ model, signal, onEnd });
  current.current = { model, signal, onEnd };
  const turn = question?.turn;

  // biome-ignore lint/correctness/useExhaustiveDependencies: asked once for each turn, whatever is changed meanwhile
  useEffect(() => {
    if (!question) return;
    const { model, signal, onEnd } = current.current;
    const started = performance.now();
    setReply(EMPTY_REPLY);
    setMany(null);
    setError(null);
    setSeconds(null);
    const { messages, temperature, maxTokens, numAnswers } = question;
    const request = { model, messages, temperature, max_completion_tokens: maxTokens };
    const asked =
      numAnswers > 1
        ? sampleChat({ ...request, n: numAnswers }, signal).then(setMany)
        : streamChat(request, setReply, signal);
    asked
      .catch((failure) => setError(failure.name === "AbortError" ? "Stopped." : failure.message))
      .finally(() => {
        setSeconds((performance.now() - started) / 1000);
        onEnd();
      });
  }, [turn]);

  const tokens = many ? (many[0]?.completionTokens ?? null) : reply.completionTokens;
  const options = known.includes(model) ? known : [...known, model];
  return (
    <Paper withBorder p="md" component="section" aria-label={`Answer of ${model}`}>
      <Stack gap="sm">
        <Group wrap="nowrap" gap="xs">
          <Select
            aria-label="Model"
            searchable
            flex={1}
            allowDeselect={false}
            data={options}
            value={model}
            onChange={(value) => value && onModel(value)}
          />
          {onRemove && (
            <ActionIcon variant="default" size="lg" onClick={onRemove} aria-label={`Remove ${model}`}>
              ×
            </ActionIcon>
          )}
        </Group>
        {error && <Alert color={error === "Stopped." ? "gray" : "red"}>{error}</Alert>}
        {reply.reasoning && <Thinking text={reply.reasoning} />}
        <Text
          component="div"
          mih={48}
          aria-live="polite"
          aria-busy={question !== null && seconds === null ? true : undefined}
        >
          {many ? (
            <BestOf replies={many} model={model} known={known} item={question?.item ?? null} />
          ) : (
            <Untrusted text={reply.content} />
          )}
          {!question && (
            <Text span c="dimmed" size="sm">
              The answer will stand here.
            </Text>
          )}
        </Text>
        {seconds !== null && !error && (
          <Group gap="xs">
            {question?.item && !many && <Grade model={model} known={known} item={question.item} text={reply.content} />}
            <Text size="xs" c="dimmed">
              {tokens !== null && `${plural(tokens, "token")} in `}
              {number(seconds, 2)} s{reply.finishReason === "length" && ", cut at the most tokens"}
            </Text>
          </Group>
        )}
      </Stack>
    </Paper>
  );
}

interface GradeProps {
  model: string;
  known: string[];
  item: Record<string, unknown>;
  text: string;
}

function Grade({ known, model, item, text }: GradeProps) {
  const grade = useQuery(gradeQuery(useGrader(model, known), item, text));
  if (grade.isError) return <Badge color="gray">not graded: {grade.error.message.slice(0, 60)}</Badge>;
  if (!grade.data) return null;
  const { failed } = grade.data;
  return (
    <Badge color={failed ? "gray" : grade.data.reward > 0 ? "green" : "orange"} size="lg">
      {failed ? "the grader failed" : `reward ${number(grade.data.reward)}`}
    </Badge>
  );
}
