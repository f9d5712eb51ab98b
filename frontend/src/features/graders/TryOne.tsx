import { Alert, Badge, Button, Group, NumberInput, Select, Stack, Table, Text, Textarea } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "@/api/client";
import type { GraderRunResult } from "@/api/schema";
import { messagesOf, textOf } from "@/ui/Chat";
import { number } from "@/ui/format";
import type { Definition } from "@/ui/grader/kinds";
import { Failure } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import { filesQuery } from "./queries";

/** Grades one answer to one row. */
export function TryOne({ definition }: { definition: Definition }) {
  const [file, setFile] = useState<string | null>(null);
  const [line, setLine] = useState(1);
  const [written, setWritten] = useState('{\n  "answer": "4"\n}');
  const [text, setText] = useState("4");
  const files = useQuery(filesQuery);
  const row = useQuery({
    queryKey: ["files", file, "row", line],
    enabled: file !== null,
    queryFn: async () => {
      const params = { path: { file_id: file! }, query: { after: `line-${line - 1}`, limit: 1 } };
      return (await answer(api.GET("/v1/fettle/files/{file_id}/rows", { params }))).data[0] ?? null;
    },
  });
  const run = useMutation({
    mutationFn: () => {
      const item = file ? (row.data?.value ?? {}) : JSON.parse(written);
      return answer(
        api.POST("/v1/fine_tuning/alpha/graders/run", {
          body: { grader: definition as never, item, model_sample: text },
        }),
      );
    },
  });
  return (
    <Stack gap="sm">
      <Group align="flex-end" gap="sm">
        <Select
          label="Row of a dataset"
          placeholder="write one below"
          clearable
          searchable
          flex={1}
          data={(files.data?.data ?? []).map((one) => ({
            value: one.id,
            label: `${one.filename} · ${one.id.slice(-4)}`,
          }))}
          value={file}
          onChange={setFile}
        />
        {file && (
          <NumberInput label="Line" w={90} min={1} value={line} onChange={(value) => setLine(Number(value) || 1)} />
        )}
      </Group>
      {file ? (
        row.data && (
          <Text size="sm" component="div">
            <Untrusted text={textOf(messagesOf(row.data.value).at(-1)?.content)} />
            <Text size="xs" c="dimmed" component="div">
              <Untrusted
                text={Object.entries(row.data.value ?? {})
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
          value={written}
          onChange={(event) => setWritten(event.currentTarget.value)}
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
      <Button style={{ alignSelf: "flex-start" }} loading={run.isPending} onClick={() => run.mutate()}>
        Grade
      </Button>
      {run.isError && <Failure error={run.error} />}
      {run.data && <Outcome result={run.data} />}
    </Stack>
  );
}

function Outcome({ result }: { result: GraderRunResult }) {
  const flags = Object.entries(result.metadata.errors).filter(([, flag]) => flag === true);
  const details = Object.entries(result.metadata.errors).filter(([, said]) => typeof said === "string" && said);
  const parts = Object.entries(result.sub_rewards);
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
