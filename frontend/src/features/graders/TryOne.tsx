import { Alert, Badge, Button, Code, Group, NumberInput, Stack, Table, Text, Textarea } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { sampleChat } from "@/api/chat";
import { answer, api } from "@/api/client";
import { modelsQuery } from "@/api/models";
import type { GraderRunResult } from "@/api/schema";
import { type Message, messagesOf, textOf } from "@/ui/Chat";
import { number } from "@/ui/format";
import type { Definition } from "@/ui/grader/kinds";
import { Failure } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import { DatasetSelect, useDataset } from "./Dataset";
import { rowQuery } from "./queries";

/** Grades one answer to one row. */
export function TryOne({ definition }: { definition: Definition }) {
  const { file, line, choose } = useDataset();
  const [written, setWritten] = useState('{\n  "answer": "4"\n}');
  const [text, setText] = useState("4");
  const row = useQuery(rowQuery(file, line));
  const found = row.data?.line === line ? row.data : null;
  const isMissing = file !== null && row.isSuccess && found === null;
  const item = file ? (found?.value ?? null) : objectIn(written);
  const run = useMutation({
    mutationFn: () =>
      answer(
        api.POST("/v1/fine_tuning/alpha/graders/run", {
          body: { grader: definition as never, item: item!, model_sample: text },
        }),
      ),
  });
  return (
    <Stack gap="sm">
      <Group align="flex-start" gap="sm">
        <DatasetSelect label="Row of a dataset" placeholder="Or write one below" />
        {file && (
          <NumberInput
            label="Line"
            w={90}
            min={1}
            value={line}
            error={isMissing ? "No such line" : undefined}
            onChange={(value) => choose(file, Number(value) || 1)}
          />
        )}
      </Group>
      {row.isError && <Failure error={row.error} onRetry={() => row.refetch()} />}
      {file ? (
        found && (
          <Text size="sm" component="div">
            <Untrusted text={textOf(messagesOf(found.value).at(-1)?.content)} />
            <Text size="xs" c="dimmed" component="div">
              <Untrusted
                text={Object.entries(found.value ?? {})
                  .filter(([name]) => name !== "messages")
                  .map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)
                  .join("   ")}
              />
            </Text>
          </Text>
        )
      ) : (
        <Textarea
          label="The row: item"
          autosize
          minRows={2}
          error={item ? undefined : 'Not a JSON object. Expected something like {"answer": "4"}'}
          value={written}
          onChange={(event) => setWritten(event.currentTarget.value)}
          styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)", fontSize: "0.8125rem" } }}
        />
      )}
      <Textarea
        label="The answer to grade"
        autosize
        minRows={2}
        maxRows={14}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <Group gap="sm">
        <Button disabled={item === null} loading={run.isPending} onClick={() => run.mutate()}>
          Grade
        </Button>
        {file && <AskModel messages={messagesOf(found?.value ?? null)} onAnswer={setText} />}
      </Group>
      {run.isError && <Failure error={run.error} />}
      {run.data && <Outcome result={run.data} />}
    </Stack>
  );
}

/** An answer as a training would get it to begin with: the base model's, sampled. */
function AskModel({ messages, onAnswer }: { messages: Message[]; onAnswer: (text: string) => void }) {
  const models = useQuery(modelsQuery);
  const base = models.data?.find((one) => one.facts.kind === "base")?.id;
  const ask = useMutation({
    mutationFn: async () => {
      const said = messages.map(({ role, content }) => ({ role, content: textOf(content) }));
      const request = { model: base!, messages: said, temperature: 1, n: 1 };
      return (await sampleChat(request, new AbortController().signal))[0]!.content;
    },
    onSuccess: onAnswer,
  });
  if (!base) return null;
  return (
    <>
      <Button variant="default" disabled={messages.length === 0} loading={ask.isPending} onClick={() => ask.mutate()}>
        Let {base} answer
      </Button>
      {ask.isError && <Failure error={ask.error} />}
    </>
  );
}

function objectIn(text: string): Record<string, unknown> | null {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

function Outcome({ result }: { result: GraderRunResult }) {
  const flags = Object.entries(result.metadata.errors).filter(([, flag]) => flag === true);
  const details = Object.entries(result.metadata.errors).filter(([, said]) => typeof said === "string" && said);
  const parts = Object.entries(result.sub_rewards);
  const { message, notes } = result.fettle as { message: string | null; notes?: { output?: string } };
  return (
    <Stack gap="xs" role="status">
      <Group gap="sm">
        <Text fz={28} fw={600} lh={1}>
          {flags.length ? "–" : number(result.reward)}
        </Text>
        <Text size="sm" c="dimmed">
          {flags.length ? "the grader failed: this is no reward" : "reward"},{" "}
          {number(result.metadata.execution_time * 1000, 1)} ms
        </Text>
      </Group>
      {flags.map(([flag]) => (
        <Badge key={flag} color="red">
          {flag}
        </Badge>
      ))}
      {details.map(([name, said]) => (
        <Alert key={name} color="orange">
          <Untrusted text={String(said)} />
        </Alert>
      ))}
      {message && details.length === 0 && (
        <Text size="sm" component="div">
          <Untrusted text={message} />
        </Text>
      )}
      {notes?.output && (
        <div>
          <Text size="xs" c="dimmed">
            It printed
          </Text>
          <Code block tabIndex={0} mah={200} style={{ overflow: "auto" }}>
            <Untrusted text={notes.output} />
          </Code>
        </div>
      )}
      {parts.length > 0 && (
        <Table fz="sm" maw={360}>
          <Table.Tbody>
            {parts.map(([name, value]) => (
              <Table.Tr key={name}>
                <Table.Th scope="row">{name}</Table.Th>
                <Table.Td ta="right">{number(value)}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Stack>
  );
}
