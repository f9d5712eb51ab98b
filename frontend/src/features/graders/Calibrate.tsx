import { Alert, Button, Group, List, SegmentedControl, Select, Stack, Text, Textarea } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "@/api/client";
import { columnsQuery } from "@/api/datasets";
import { plural } from "@/ui/format";
import type { Definition } from "@/ui/grader/kinds";
import { Failure } from "@/ui/states";
import { DatasetSelect, useDataset } from "./Dataset";
import { Estimates } from "./Estimates";
import { readRows } from "./queries";
import { add, parseRatings, type Rated, type Ratings, ratedRow } from "./rated";

const MAX_ANSWERS = 500;
const EXAMPLE = "answer,text,label\n4,4,1\n4,It is four.,0.5\n4,5,0";

const calibrate = (grader: Definition, answers: Rated[]) =>
  answer(api.POST("/v1/fettle/graders/calibrate", { body: { grader, answers, repeats: 2, seed: 0 } as never }));
type Report = Awaited<ReturnType<typeof calibrate>>;

/** The grader beside what people gave the same answers. */
export function Calibrate({ definition }: { definition: Definition }) {
  const [from, setFrom] = useState("pasted");
  const [pasted, setPasted] = useState("");
  const { file } = useDataset();
  const [columns, setColumns] = useState<Rating>({ text: null, label: null });
  const read = parseRatings(pasted);
  const run = useMutation({
    mutationFn: async () => {
      const found = from === "pasted" ? read : await ofDataset(file!, columns);
      if (found.answers.length < 2) throw new Error(found.problems[0] ?? "At least two rated answers are needed.");
      return calibrate(definition, found.answers.slice(0, MAX_ANSWERS));
    },
  });
  const ready = from === "pasted" ? read.answers.length >= 2 : Boolean(file && columns.text && columns.label);
  return (
    <Stack gap="sm">
      <Text size="sm" c="dimmed">
        Thirty answers or more that people have rated, on any scale: does the grader rank them as they do?
      </Text>
      <SegmentedControl
        aria-label="Where the ratings are"
        style={{ alignSelf: "flex-start" }}
        value={from}
        onChange={setFrom}
        data={[
          { value: "pasted", label: "Pasted" },
          { value: "dataset", label: "Columns of a dataset" },
        ]}
      />
      {from === "pasted" ? (
        <>
          <Textarea
            label="Ratings"
            description="A table with the columns text and label, the others being the row's; or JSON Lines with item, text and label"
            placeholder={EXAMPLE}
            autosize
            minRows={5}
            maxRows={14}
            value={pasted}
            onChange={(event) => setPasted(event.currentTarget.value)}
            styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)", fontSize: "0.8125rem" } }}
          />
          {pasted.trim() !== "" && <WasRead ratings={read} />}
        </>
      ) : (
        <Columns value={columns} onChange={setColumns} />
      )}
      <Button
        style={{ alignSelf: "flex-start" }}
        disabled={!ready}
        loading={run.isPending}
        onClick={() => run.mutate()}
      >
        Compare with people
      </Button>
      {run.isError && <Failure error={run.error} />}
      {run.data && <ReportView report={run.data} />}
    </Stack>
  );
}

function WasRead({ ratings: { answers, problems } }: { ratings: Ratings }) {
  return (
    <Text size="sm" component="div" role="status">
      {plural(answers.length, "rated answer")}
      {answers.length > MAX_ANSWERS && `; the first ${MAX_ANSWERS} are used`}
      {problems.length > 0 && (
        <List size="sm">
          {problems.slice(0, 5).map((problem) => (
            <List.Item key={problem}>{problem}</List.Item>
          ))}
          {problems.length > 5 && <List.Item>and {problems.length - 5} more</List.Item>}
        </List>
      )}
    </Text>
  );
}

/** Names of the columns with the answer and with its rating. */
interface Rating {
  text: string | null;
  label: string | null;
}

function Columns({ value, onChange }: { value: Rating; onChange: (value: Rating) => void }) {
  const { file } = useDataset();
  const columns = useQuery(columnsQuery(file));
  const names = (columns.data ?? []).filter((name) => name !== "messages");
  return (
    <Group gap="sm" align="flex-start">
      <DatasetSelect />
      {file && (
        <>
          <Select
            label="The answer"
            data={names}
            value={value.text}
            onChange={(text) => onChange({ ...value, text })}
          />
          <Select
            label="Its rating"
            data={names}
            value={value.label}
            onChange={(label) => onChange({ ...value, label })}
          />
        </>
      )}
    </Group>
  );
}

async function ofDataset(file: string, { text, label }: Rating): Promise<Ratings> {
  const found: Ratings = { answers: [], problems: [] };
  for (const row of await readRows(file, MAX_ANSWERS)) add(found, row.line, ratedRow(row.value, text!, label!));
  return found;
}

const VERDICTS = {
  use: ["green", "It ranks answers as people do."],
  doubtful: ["orange", "Doubtful: it agrees with people only in part."],
  do_not_use: ["red", "Do not train on it: it ranks answers otherwise than people do."],
  unclear: ["orange", "Nothing can be said yet."],
} as const;

function ReportView({ report }: { report: Report }) {
  const [colour, words] = VERDICTS[report.verdict];
  const { confusion } = report;
  return (
    <Stack gap="sm" role="status">
      <Alert color={colour} title={words}>
        {report.warnings.map((warning) => (
          <Text size="sm" key={warning}>
            {warning}
          </Text>
        ))}
      </Alert>
      <Estimates
        label={`Beside the ratings of ${plural(report.num_answers, "answer")}`}
        rows={[
          { name: "Rank correlation", about: "Spearman; from 0.8 on it is trusted", estimate: report.spearman },
          { name: "Agreement", about: "share that both pass or both fail", estimate: report.agreement },
          { name: "Kappa", about: "agreement beyond chance", estimate: report.kappa },
          { name: "Noise", about: "spread of repeated scores of one answer", estimate: report.repeat_noise },
          { name: "Spread", about: "between answers to one prompt", estimate: report.group_spread },
          {
            name: "Length bias",
            about: "above 0: it favours long answers, people do not",
            estimate: report.length_bias,
          },
        ]}
      />
      {confusion && (
        <Text size="sm">
          Both pass {confusion.both_pass}, both fail {confusion.both_fail}; the grader alone passes{" "}
          {confusion.only_grader}, people alone {confusion.only_person}. A pass is a score from {report.score_threshold}{" "}
          on and a rating from {report.label_threshold} on.
        </Text>
      )}
    </Stack>
  );
}
