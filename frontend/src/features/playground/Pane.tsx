import { ActionIcon, Alert, Badge, Group, Paper, Select, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { EMPTY_REPLY, type Reply, streamChat } from "@/api/chat";
import { answer, api } from "@/api/client";
import { modelsQuery } from "@/api/models";
import { number, plural } from "@/ui/format";
import { Thinking } from "@/ui/Thinking";
import { Untrusted } from "@/ui/Untrusted";
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
    setError(null);
    setSeconds(null);
    const { messages, temperature, maxTokens } = question;
    streamChat({ model, messages, temperature, max_completion_tokens: maxTokens }, setReply, signal)
      .catch((failure) => setError(failure.name === "AbortError" ? "Stopped." : failure.message))
      .finally(() => {
        setSeconds((performance.now() - started) / 1000);
        onEnd();
      });
  }, [turn]);

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
          <Untrusted text={reply.content} />
          {!question && (
            <Text span c="dimmed" size="sm">
              The answer will stand here.
            </Text>
          )}
        </Text>
        {seconds !== null && !error && (
          <Group gap="xs">
            {question?.item && <Grade model={model} known={known} item={question.item} text={reply.content} />}
            <Text size="xs" c="dimmed">
              {reply.completionTokens !== null && `${plural(reply.completionTokens, "token")} in `}
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

/** What the grader of the tuned model's job says about the answer; a base model is graded by the newest job's. */
function Grade({ known, model, item, text }: GradeProps) {
  const models = useQuery(modelsQuery);
  const tuned = [model, ...known].find((id) => id.startsWith("ft:"));
  const jobId = models.data?.find((one) => one.id === tuned)?.facts.fine_tuning_job_id;
  const job = useQuery({
    queryKey: ["jobs", jobId],
    enabled: jobId !== undefined,
    queryFn: () => answer(api.GET("/v1/fine_tuning/jobs/{job_id}", { params: { path: { job_id: jobId! } } })),
  });
  const grader = (job.data?.method.reinforcement as { grader?: { type: string } } | undefined)?.grader;
  const grade = useQuery({
    queryKey: ["grade", grader, item, text],
    enabled: grader !== undefined,
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
    queryFn: () =>
      answer(
        api.POST("/v1/fine_tuning/alpha/graders/run", {
          body: { grader: grader as never, item, model_sample: text },
        }),
      ),
  });
  if (grade.isError) return <Badge color="gray">not graded: {grade.error.message.slice(0, 60)}</Badge>;
  if (!grade.data) return null;
  const failed = Object.values(grade.data.metadata.errors).some((flag) => flag === true);
  return (
    <Badge color={failed ? "gray" : grade.data.reward > 0 ? "green" : "orange"} size="lg">
      {failed ? "the grader failed" : `reward ${number(grade.data.reward)}`}
    </Badge>
  );
}
