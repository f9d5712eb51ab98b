import { Anchor, Select, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { evaluationQuery } from "@/api/jobs";
import type { JobShape, MetricsShape } from "@/api/schema";
import { number, plural, signed } from "@/ui/format";
import { Section } from "@/ui/Page";
import { Empty, Loaded, Waiting } from "@/ui/states";
import { type Column, VirtualTable } from "@/ui/VirtualTable";
import classes from "./compare.module.css";
import { type Outcome, outcomes } from "./outcomes";

interface PromptsProps {
  jobs: readonly { job: JobShape; metrics: MetricsShape }[];
  names: readonly string[];
}

/** Prompt by prompt: where one job answers better than another, on the same held-out rows. */
export function Prompts({ jobs, names }: PromptsProps) {
  const search = useSearch({ from: "/frame/jobs/compare" });
  const navigate = useNavigate({ from: "/jobs/compare" });
  const placeOf = (id: string | undefined, otherwise: number) => {
    const found = jobs.findIndex(({ job }) => job.id === id);
    return found < 0 ? otherwise : found;
  };
  const [first, second] = [placeOf(search.baseline, 0), placeOf(search.other, 1)];
  const choose = (which: "baseline" | "other", place: string | null) =>
    navigate({ search: (old) => ({ ...old, [which]: jobs[Number(place)]!.job.id }), replace: true });
  const [baseline, other] = [jobs[first]!, jobs[second]!];
  const steps = [stepOf(baseline), stepOf(other)];
  const left = useQuery({ ...evaluationQuery(baseline.job.id, steps[0] ?? 0), enabled: steps[0] !== null });
  const right = useQuery({ ...evaluationQuery(other.job.id, steps[1] ?? 0), enabled: steps[1] !== null });
  const options = names.map((name, index) => ({ value: String(index), label: name }));
  const comparable =
    baseline.job.fettle.file_digests.validation === other.job.fettle.file_digests.validation &&
    (baseline.job.validation_file !== null || sameSplit(baseline.job, other.job));
  return (
    <Section
      title="Prompt by prompt"
      lead="The held-out rows, at the delivered step of each job; while it runs, at the best so far."
    >
      <div className={classes.pickers}>
        <Select
          label="Baseline"
          data={options}
          value={String(first)}
          onChange={(next) => choose("baseline", next)}
          allowDeselect={false}
        />
        <Select
          label="Against it"
          data={options}
          value={String(second)}
          onChange={(next) => choose("other", next)}
          allowDeselect={false}
        />
      </div>
      {!comparable ? (
        <Empty title="They hold out different rows.">Only scores on the same rows can be compared one by one.</Empty>
      ) : steps.includes(null) ? (
        <Empty title="One of them has not been evaluated yet." />
      ) : left.data === undefined && !left.isError ? (
        <Waiting lines={6} />
      ) : (
        <Loaded query={right} lines={6}>
          {(measured) =>
            left.data && measured ? (
              <Table
                found={outcomes(left.data, measured)}
                jobId={other.job.id}
                steps={[steps[0] ?? 0, steps[1] ?? 0]}
                names={[names[first] ?? "", names[second] ?? ""]}
              />
            ) : (
              <Empty title="The evaluation of one of these steps is not there." />
            )
          }
        </Loaded>
      )}
    </Section>
  );
}

interface TableProps {
  found: ReturnType<typeof outcomes>;
  jobId: string;
  steps: [number, number];
  names: [string, string];
}

function Table({ found, jobId, steps, names }: TableProps) {
  const { wins, ties, losses, mean, interval, rows } = found;
  const columns: Column<Outcome>[] = [
    {
      key: "row",
      header: "Row",
      width: "90px",
      cell: (one) => (
        <Anchor
          size="sm"
          renderRoot={(props) => (
            <Link
              to="/jobs/$jobId/rollouts"
              params={{ jobId }}
              search={{ purpose: "eval", row: one.row, step: steps[1] }}
              {...props}
            />
          )}
        >
          {one.row + 1}
        </Anchor>
      ),
    },
    {
      key: "baseline",
      header: `${names[0]}, step ${steps[0]}`,
      width: "minmax(140px, 1fr)",
      align: "right",
      cell: (one) => number(one.baseline),
    },
    {
      key: "other",
      header: `${names[1]}, step ${steps[1]}`,
      width: "minmax(140px, 1fr)",
      align: "right",
      cell: (one) => number(one.other),
    },
    {
      key: "difference",
      header: "Difference",
      width: "110px",
      align: "right",
      cell: (one) => signed(one.other - one.baseline),
    },
  ];
  return (
    <Stack gap="sm">
      <Text size="sm">
        {names[1]} wins on {plural(wins, "row")}, ties on {ties}, loses on {losses}. Mean difference {signed(mean)}
        {interval && ` (95 % ${signed(interval[0])} to ${signed(interval[1])})`}. The worst for {names[1]} come first.
      </Text>
      <VirtualTable label="Prompts" rows={rows} columns={columns} rowKey={(one) => String(one.row)} height={360} />
    </Stack>
  );
}

/** The delivered step, else the best so far; null before the first evaluation. */
function stepOf({ job, metrics }: { job: JobShape; metrics: MetricsShape }): number | null {
  const selection = job.fettle.selection as { chosen_step: number } | null;
  if (selection) return selection.chosen_step;
  const best = metrics.evaluations.reduce<MetricsShape["evaluations"][number] | undefined>(
    (top, one) => (!top || one.mean > top.mean ? one : top),
    undefined,
  );
  return best?.step ?? null;
}

function sameSplit(a: JobShape, b: JobShape): boolean {
  return (
    a.fettle.file_digests.training === b.fettle.file_digests.training &&
    a.fettle.validation_split === b.fettle.validation_split &&
    a.seed === b.seed
  );
}
