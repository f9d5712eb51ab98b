import { Anchor, Button, Group, SegmentedControl, Stack, Table, Text } from "@mantine/core";
import { useQueries } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { isOver, jobName, jobQuery, metricsQuery, statusWord } from "@/api/jobs";
import { usePolling } from "@/api/polling";
import type { JobShape, MetricsShape } from "@/api/schema";
import { shareRange } from "@/ui/chart-data";
import { number, percent, signed } from "@/ui/format";
import { LazyChart } from "@/ui/LazyChart";
import { Page, Section } from "@/ui/Page";
import { StatusMark } from "@/ui/StatusMark";
import { Empty, Failure, Waiting } from "@/ui/states";
import { WideTable } from "@/ui/WideTable";
import classes from "./compare.module.css";
import { overlaid } from "./curves";
import { differences } from "./differences";
import { Prompts } from "./Prompts";

const X_NAMES = { step: "step", time: "second", tokens: "token" } as const;

/** Two to six jobs over one another: what came out, what was different, and which prompts it changed. */
export function ComparePage() {
  const { ids = [], x = "step" } = useSearch({ from: "/frame/jobs/compare" });
  const navigate = useNavigate({ from: "/jobs/compare" });
  const poll = usePolling();
  const jobs = useQueries({
    queries: ids.map((id) => ({
      ...jobQuery(id),
      refetchInterval: ({ state }: { state: { data?: JobShape } }) => poll(isOver(state.data?.status)),
      refetchIntervalInBackground: true,
    })),
  });
  const metrics = useQueries({
    queries: ids.map((id, index) => ({
      ...metricsQuery(id, isOver(jobs[index]?.data?.status)),
      refetchInterval: () => poll(isOver(jobs[index]?.data?.status)),
      refetchIntervalInBackground: true,
    })),
  });
  if (ids.length < 2) {
    return (
      <Page title="Compare jobs">
        <Empty
          title="Choose two to six jobs."
          action={<Button renderRoot={(props) => <Link to="/jobs" {...props} />}>To the jobs</Button>}
        >
          Tick their boxes in the list, then press Compare.
        </Empty>
      </Page>
    );
  }
  const failed = [...jobs, ...metrics].find((query) => query.isError && query.data === undefined);
  const shown = jobs.flatMap((job, index) => {
    const measured = metrics[index]?.data;
    return job.data && measured ? [{ job: job.data, metrics: measured }] : [];
  });
  const complete = shown.length === ids.length;
  const names = uniqueNames(shown.map(({ job }) => job));
  return (
    <Page
      title="Compare jobs"
      lead={complete ? <Verdict jobs={shown.map(({ job }) => job)} names={names} /> : undefined}
    >
      {failed && <Failure error={failed.error} onRetry={() => failed.refetch()} />}
      {!complete && !failed && <Waiting lines={10} />}
      {complete && (
        <>
          <Results
            jobs={shown}
            names={names}
            onRemove={(id) => navigate({ search: (old) => ({ ...old, ids: ids.filter((one) => one !== id) }) })}
          />
          <Section
            title="Curves"
            actions={
              <SegmentedControl
                size="xs"
                aria-label="Along"
                value={x}
                onChange={(next) => navigate({ search: (old) => ({ ...old, x: next as typeof x }), replace: true })}
                data={[
                  { value: "step", label: "Steps" },
                  { value: "time", label: "Time" },
                  { value: "tokens", label: "Tokens" },
                ]}
              />
            }
          >
            <div className={classes.charts}>
              {overlaid(
                shown.map(({ metrics: one }, index) => ({ name: names[index]!, metrics: one })),
                x,
              ).map((chart) => (
                <LazyChart
                  key={chart.title}
                  title={chart.title}
                  series={chart.series}
                  xName={X_NAMES[x]}
                  sync="compare"
                  height={chart.wide ? 240 : 170}
                  range={chart.format === "percent" ? shareRange(chart.series) : undefined}
                  format={chart.format === "percent" ? percent : number}
                />
              ))}
            </div>
          </Section>
          <Differences jobs={shown.map(({ job }) => job)} names={names} />
          <Prompts jobs={shown} names={names} />
        </>
      )}
    </Page>
  );
}

interface Measured {
  job: JobShape;
  metrics: MetricsShape;
}

interface Gain {
  chosen_step: number;
  base_mean: number;
  chosen_mean: number;
  gain: number;
  gain_low: number;
  gain_high: number;
  num_items: number;
}

/** Two jobs of one name are told apart by the ends of their ids. */
function uniqueNames(jobs: readonly JobShape[]): string[] {
  const names = jobs.map(jobName);
  return names.map((name, index) =>
    names.indexOf(name) === names.lastIndexOf(name) ? name : `${name} …${jobs[index]!.id.slice(-4)}`,
  );
}

/** Intervals that overlap rank nothing. */
function Verdict({ jobs, names }: { jobs: readonly JobShape[]; names: readonly string[] }) {
  const done = jobs.flatMap((job, index) => {
    const gain = job.fettle.selection as Gain | null;
    return gain ? [{ name: names[index]!, gain, rows: job.fettle.file_digests.validation, grader: graderOf(job) }] : [];
  });
  if (done.length < 2) return "Fewer than two of them have delivered a model; the curves show how far they are.";
  if (new Set(done.map((one) => one.grader)).size > 1)
    return "They were graded differently: their scores cannot be ranked, only read one by one.";
  if (new Set(done.map((one) => one.rows)).size > 1)
    return "They were measured on different rows: their scores cannot be ranked.";
  const best = done.reduce((a, b) => (b.gain.gain > a.gain.gain ? b : a));
  const tied = done.filter((one) => one !== best && one.gain.gain_high >= best.gain.gain_low);
  if (tied.length === done.length - 1) return "Tied: the intervals of their gains overlap.";
  if (tied.length > 0)
    return `${best.name} gains the most, ${signed(best.gain.gain)}, tied with ${tied.map((one) => one.name).join(", ")}.`;
  return `${best.name} gains the most: ${signed(best.gain.gain)}, and no other interval reaches its own.`;
}

function graderOf(job: JobShape): string {
  return JSON.stringify(
    (job.method as Record<string, { grader?: unknown }>)[job.method.type as string]?.grader ?? null,
  );
}

interface ResultsProps {
  jobs: readonly Measured[];
  names: readonly string[];
  onRemove: (id: string) => void;
}

function Results({ jobs, names, onRemove }: ResultsProps) {
  return (
    <WideTable minWidth={640}>
      <Table.Thead>
        <Table.Tr>
          <Table.Th scope="col">Job</Table.Th>
          <Table.Th scope="col">Status</Table.Th>
          <Table.Th scope="col">Start</Table.Th>
          <Table.Th scope="col">Delivered</Table.Th>
          <Table.Th scope="col">Gain, 95 % interval</Table.Th>
          <Table.Th scope="col">Step</Table.Th>
          <Table.Td />
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {jobs.map(({ job, metrics }, index) => {
          const gain = job.fettle.selection as Gain | null;
          const start = gain?.base_mean ?? metrics.evaluations[0]?.mean;
          return (
            <Table.Tr key={job.id}>
              <Table.Th scope="row">
                <Anchor
                  size="sm"
                  renderRoot={(props) => <Link to="/jobs/$jobId" params={{ jobId: job.id }} {...props} />}
                >
                  {names[index]}
                </Anchor>
              </Table.Th>
              <Table.Td>
                <StatusMark word={statusWord(job)} />
              </Table.Td>
              <Table.Td>{number(start)}</Table.Td>
              <Table.Td>{gain ? number(gain.chosen_mean) : "–"}</Table.Td>
              <Table.Td>
                {gain
                  ? `${signed(gain.gain)} (${signed(gain.gain_low)} to ${signed(gain.gain_high)}, n ${gain.num_items})`
                  : "–"}
              </Table.Td>
              <Table.Td>{gain ? gain.chosen_step : job.fettle.step}</Table.Td>
              <Table.Td>
                <Button
                  size="compact-xs"
                  variant="subtle"
                  color="gray"
                  aria-label={`Leave ${names[index]} out`}
                  onClick={() => onRemove(job.id)}
                >
                  ✕
                </Button>
              </Table.Td>
            </Table.Tr>
          );
        })}
      </Table.Tbody>
    </WideTable>
  );
}

function Differences({ jobs, names }: { jobs: readonly JobShape[]; names: readonly string[] }) {
  const rows = differences(jobs);
  return (
    <Section
      title="What was different"
      lead={rows.length ? "Only what differs; everything else was the same." : undefined}
    >
      {rows.length === 0 ? (
        <Text size="sm">Nothing: they have the same data, grader, parameters and seed.</Text>
      ) : (
        <Stack gap={0}>
          <WideTable minWidth={480}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th scope="col">Field</Table.Th>
                {names.map((name) => (
                  <Table.Th scope="col" key={name}>
                    {name}
                  </Table.Th>
                ))}
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {rows.map(({ path, values }) => (
                <Table.Tr key={path}>
                  <Table.Th scope="row" fw={400}>
                    <Group gap={4}>{path}</Group>
                  </Table.Th>
                  {values.map((value, index) => (
                    // biome-ignore lint/suspicious/noArrayIndexKey: one column a job
                    <Table.Td key={index} className={classes.value}>
                      {value}
                    </Table.Td>
                  ))}
                </Table.Tr>
              ))}
            </Table.Tbody>
          </WideTable>
        </Stack>
      )}
    </Section>
  );
}
