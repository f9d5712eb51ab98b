import { Anchor, Button, Group, Stack, Tabs, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { besideItsStart, isOver, jobName, jobQuery, metricsQuery, statusWord } from "@/api/jobs";
import { usePolling } from "@/api/polling";
import type { JobShape, MetricsShape } from "@/api/schema";
import { dateTime, duration, number, percent, plural, signed } from "@/ui/format";
import { Page } from "@/ui/Page";
import { StatusMark } from "@/ui/StatusMark";
import { Loaded } from "@/ui/states";
import { Actions } from "./Actions";
import { Checkpoints } from "./Checkpoints";
import { Configuration } from "./Configuration";
import { Curves } from "./Curves";
import { Events } from "./Events";
import { Failed } from "./Failed";
import { failureOf } from "./failure";
import classes from "./job.module.css";
import { bestSoFar, timeLeft } from "./progress";

const TABS = [
  ["curves", "Curves"],
  ["checkpoints", "Checkpoints"],
  ["events", "Events"],
  ["configuration", "Configuration"],
] as const;

export function JobPage() {
  const { jobId } = useParams({ from: "/frame/jobs/$jobId" });
  const { tab = "curves" } = useSearch({ from: "/frame/jobs/$jobId" });
  const navigate = useNavigate({ from: "/jobs/$jobId" });
  const poll = usePolling();
  const job = useQuery({
    ...jobQuery(jobId),
    refetchInterval: ({ state }) => poll(isOver(state.data?.status)),
    refetchIntervalInBackground: true,
  });
  const over = isOver(job.data?.status);
  const metrics = useQuery({
    ...metricsQuery(jobId, over),
    refetchInterval: () => poll(over),
    refetchIntervalInBackground: true,
  });
  if (!job.data) {
    return (
      <Page title="Job">
        <Loaded query={job}>{() => null}</Loaded>
      </Page>
    );
  }
  return (
    <Page
      title={jobName(job.data)}
      lead={<Lead job={job.data} />}
      actions={
        <>
          {job.data.fine_tuned_model && <TryIt job={job.data} model={job.data.fine_tuned_model} />}
          <Button
            variant="default"
            renderRoot={(props) => <Link to="/jobs/$jobId/rollouts" params={{ jobId }} {...props} />}
          >
            Rollouts
          </Button>
          <Actions job={job.data} />
        </>
      }
    >
      <Loaded query={job}>{() => null}</Loaded>
      <Numbers job={job.data} metrics={metrics.data} />
      {job.data.status === "failed" && <Failed job={job.data} metrics={metrics.data} />}
      <Tabs
        value={tab}
        onChange={(next) => navigate({ search: (old) => ({ ...old, tab: next as typeof tab }), replace: true })}
        keepMounted={false}
      >
        <Tabs.List mb="md">
          {TABS.map(([value, label]) => (
            <Tabs.Tab key={value} value={value}>
              {label}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="curves">
          <Loaded query={metrics} lines={10}>
            {(found) => <Curves job={job.data} metrics={found} />}
          </Loaded>
        </Tabs.Panel>
        <Tabs.Panel value="checkpoints">
          <Checkpoints job={job.data} metrics={metrics.data} />
        </Tabs.Panel>
        <Tabs.Panel value="events">
          <Events job={job.data} />
        </Tabs.Panel>
        <Tabs.Panel value="configuration">
          <Configuration job={job.data} />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

function TryIt({ job, model }: { job: JobShape; model: string }) {
  return (
    <Button renderRoot={(props) => <Link to="/playground" search={besideItsStart(job, model)} {...props} />}>
      Try it beside its start
    </Button>
  );
}

/** The answer first: what it is doing, or what came out. */
function Lead({ job }: { job: JobShape }) {
  const selection = job.fettle.selection as Summary | null;
  return (
    <Stack gap={2}>
      <Group gap="sm" role="status">
        <StatusMark word={statusWord(job)} />
        <span>
          {selection ? outcome(selection) : job.status === "failed" ? `${failureOf(job).title}.` : job.fettle.phase}
        </span>
      </Group>
      <Text size="xs" c="dimmed">
        {job.id} · from {job.model} · {dateTime(job.created_at)}
        {job.fine_tuned_model && (
          <>
            {" · model "}
            <Anchor
              size="xs"
              underline="always"
              renderRoot={(props) => (
                <Link to="/models/$modelId" params={{ modelId: job.fine_tuned_model! }} {...props} />
              )}
            >
              {job.fine_tuned_model}
            </Anchor>
          </>
        )}
      </Text>
    </Stack>
  );
}

interface Summary {
  verdict: "improved" | "no_measurable_gain";
  chosen_step: number;
  base_mean: number;
  chosen_mean: number;
  gain: number;
  gain_low: number;
  gain_high: number;
  confidence: number;
  num_items: number;
}

function outcome(selection: Summary): string {
  const rows = plural(selection.num_items, "held-out row");
  if (selection.verdict === "no_measurable_gain") {
    return `No gain could be measured on ${rows}. Step ${selection.chosen_step} is delivered: no worse than the start.`;
  }
  const interval = `${signed(selection.gain_low)} to ${signed(selection.gain_high)}`;
  return (
    `From ${number(selection.base_mean)} to ${number(selection.chosen_mean)} on ${rows}: a gain of ` +
    `${signed(selection.gain)} (${percent(selection.confidence)} interval ${interval}). Step ${selection.chosen_step} is delivered.`
  );
}

function Numbers({ job, metrics }: { job: JobShape; metrics: MetricsShape | undefined }) {
  const { step, total_steps: total } = job.fettle;
  const left = job.status === "running" && metrics && total ? timeLeft(metrics, total) : null;
  const best = metrics && bestSoFar(metrics.evaluations);
  const start = metrics?.evaluations.find((one) => one.step === 0);
  const elapsed = metrics?.series.find((one) => one.name === "elapsed_s")?.points.at(-1)?.[1];
  // The gain in the first line was measured once more at the end, so its numbers are others.
  const measuredThen = job.fettle.selection ? ", while training" : "";
  const shown: [string, string, string | null][] = [
    ["Step", total ? `${step} of ${total}` : "–", null],
    isOver(job.status)
      ? ["Time in steps", elapsed ? duration(elapsed) : "–", null]
      : ["Time left", left ? between(left) : "–", left ? "from the last steps" : null],
    [
      "Held out, at the start",
      start ? number(start.mean) : "–",
      start?.standard_error ? `± ${number(1.96 * start.standard_error)}${measuredThen}` : null,
    ],
    [
      "Held out, best so far",
      best ? number(best.mean) : "–",
      best ? `± ${number(1.96 * (best.standard_error ?? 0))}, step ${best.step}${measuredThen}` : null,
    ],
    ["Trained tokens", job.trained_tokens ? number(job.trained_tokens) : lastOf(metrics, "trained_tokens"), null],
  ];
  return (
    <dl className={classes.numbers}>
      {shown.map(([name, value, note]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>
            {value} {note && <small>{note}</small>}
          </dd>
        </div>
      ))}
    </dl>
  );
}

function between([least, most]: readonly [number, number]): string {
  const [low, high] = [duration(least), duration(most)];
  return low === high ? `about ${low}` : `${low} to ${high}`;
}

function lastOf(metrics: MetricsShape | undefined, name: string): string {
  return number(metrics?.series.find((one) => one.name === name)?.points.at(-1)?.[1]);
}
