import { Alert, Button, SegmentedControl, Select, Stack, Table, Text } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "@/api/client";
import { modelsQuery } from "@/api/models";
import { number, percent, plural } from "@/ui/format";
import type { Definition } from "@/ui/grader/kinds";
import { Histogram } from "@/ui/Histogram";
import { Failure } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import { type RowsChoice, RowsInput, useRows } from "./RowsInput";

const test = async (definition: Definition, rows: RowsChoice, model: string | null) => {
  const source = model
    ? ({ type: "base", model, samples_per_row: 4 } as const)
    : ({ type: "reference", template: rows.gold } as const);
  const body = { grader: definition, source, file_id: rows.file, num_rows: rows.numRows, gold: rows.gold || null };
  return answer(api.POST("/v1/fettle/graders/test", { body: body as never }));
};
type Report = Awaited<ReturnType<typeof test>>;

/** Grades many answers: of a model, or the rows' own right ones. */
export function Batch({ definition }: { definition: Definition }) {
  const rows = useRows(definition);
  const [from, setFrom] = useState("model");
  const [model, setModel] = useState<string | null>(null);
  const models = useQuery(modelsQuery);
  const asked = model ?? models.data?.[0]?.id ?? null;
  const run = useMutation({ mutationFn: () => test(definition, rows, from === "model" ? asked : null) });
  const ready = rows.file && (from === "model" ? asked : rows.gold);
  return (
    <Stack gap="sm">
      <RowsInput rows={rows} />
      <SegmentedControl
        aria-label="Whose answers"
        style={{ alignSelf: "flex-start" }}
        data={[
          { value: "model", label: "Answers of a model" },
          { value: "reference", label: "The right answers" },
        ]}
        value={from}
        onChange={setFrom}
      />
      {from === "model" && (
        <Select
          label="Model"
          allowDeselect={false}
          data={models.data?.map((one) => one.id) ?? []}
          value={asked}
          onChange={setModel}
        />
      )}
      <Button
        style={{ alignSelf: "flex-start" }}
        disabled={!ready}
        loading={run.isPending}
        onClick={() => run.mutate()}
      >
        Grade {plural(rows.numRows, "row")}
      </Button>
      {run.isError && <Failure error={run.error} />}
      {run.data && <ReportView report={run.data} />}
    </Stack>
  );
}

function ReportView({ report }: { report: Report }) {
  const { scores, grading, gold } = report;
  return (
    <Stack gap="md" role="status">
      {gold && (
        <Alert color={gold.num_missed ? "orange" : "green"}>
          {gold.num_missed
            ? `${plural(gold.num_missed, "right answer")} of ${gold.num_checked} ${gold.num_missed === 1 ? "does" : "do"} not score at the top: ` +
              gold.missed
                .slice(0, 5)
                .map((miss) => `row ${miss.row} (${miss.reason.replaceAll("_", " ")})`)
                .join(", ")
            : `All ${plural(gold.num_checked, "right answer")} score at the top.`}
        </Alert>
      )}
      {grading.num_failed > 0 && (
        <Alert color="red" title={`${plural(grading.num_failed, "answer")} could not be graded`}>
          {grading.messages.slice(0, 3).map((message) => (
            <div key={message}>
              <Untrusted text={message} />
            </div>
          ))}
        </Alert>
      )}
      {scores && (
        <>
          <Text size="sm">
            {plural(report.num_answers, "answer")} to {plural(report.num_rows, "row")}: mean{" "}
            <b>{number(scores.mean.value)}</b>
            {scores.mean.low !== null &&
              scores.mean.high !== null &&
              ` (${number(scores.mean.low)} to ${number(scores.mean.high)})`}
            , spread {number(scores.std)}; {percent(scores.share_zero)} exactly 0, {percent(scores.share_one)} exactly 1
            {grading.latency_p50_s !== null && `; ${number(grading.latency_p50_s * 1000, 1)} ms each`}.
          </Text>
          <Histogram label="Scores" edges={scores.histogram_edges} counts={scores.histogram_counts} />
          <Answers title="Worst answers" results={report.worst} />
          <Answers title="Best answers" results={report.best} />
        </>
      )}
    </Stack>
  );
}

function Answers({ title, results }: { title: string; results: Report["worst"] }) {
  if (results.length === 0) return null;
  return (
    <Table fz="sm" layout="fixed" captionSide="top">
      <Table.Caption ta="left">{title}</Table.Caption>
      <Table.Thead>
        <Table.Tr>
          <Table.Th scope="col" w={64}>
            Row
          </Table.Th>
          <Table.Th scope="col" w={80}>
            Score
          </Table.Th>
          <Table.Th scope="col">Answer</Table.Th>
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {results.map((result) => (
          <Table.Tr key={`${result.row} ${result.sample_index}`}>
            <Table.Td>{result.row}</Table.Td>
            <Table.Td>{number(result.score)}</Table.Td>
            <Table.Td>
              <Untrusted text={result.text.slice(0, 300)} />
            </Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}
