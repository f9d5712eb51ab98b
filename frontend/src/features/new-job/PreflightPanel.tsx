import { Alert, Button, List, Stack, Text } from "@mantine/core";
import { queryOptions, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { answer, api } from "@/api/client";
import { usePolling } from "@/api/polling";
import type { PreflightCreateShapeRequest, PreflightShape } from "@/api/schema";
import { Bars } from "@/ui/Bars";
import { bytes, count, duration, number, percent } from "@/ui/format";
import { Section } from "@/ui/Page";
import { Failure } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import { rememberBody } from "./memory";
import classes from "./new-job.module.css";
import type { Body } from "./request";

type Report = NonNullable<PreflightShape["report"]>;

export function preflightQuery(id: string) {
  return queryOptions({
    queryKey: ["preflight", id],
    queryFn: () => answer(api.GET("/v1/fettle/preflight/{preflight_id}", { params: { path: { preflight_id: id } } })),
  });
}

interface PreflightPanelProps {
  id: string | undefined;
  /** The preflight was made of what the form says now. */
  fits: boolean;
  complete: boolean;
  body: Body;
  onStarted: (id: string) => void;
  onIncomplete: () => void;
}

const ENDS = ["succeeded", "failed", "cancelled"];

/** Look before a job: the base answers some rows and is graded. */
export function PreflightPanel({ id, fits, complete, body, onStarted, onIncomplete }: PreflightPanelProps) {
  const poll = usePolling();
  const client = useQueryClient();
  const found = useQuery({
    ...preflightQuery(id ?? ""),
    enabled: id !== undefined,
    refetchInterval: ({ state }) => poll(ENDS.includes(state.data?.status ?? "")),
    refetchIntervalInBackground: true,
  });
  const start = useMutation({
    mutationFn: () =>
      answer(api.POST("/v1/fettle/preflight", { body: body as unknown as PreflightCreateShapeRequest })),
    onSuccess: (made) => {
      rememberBody(made.id, body);
      client.setQueryData(preflightQuery(made.id).queryKey, made);
      onStarted(made.id);
    },
  });
  const cancel = useMutation({
    mutationFn: (running: string) =>
      answer(api.POST("/v1/fettle/preflight/{preflight_id}/cancel", { params: { path: { preflight_id: running } } })),
    onSuccess: (made) => client.setQueryData(preflightQuery(made.id).queryKey, made),
  });
  const preflight = found.data;
  const running = preflight !== undefined && !ENDS.includes(preflight.status);
  return (
    <Section
      id="preflight"
      title="Preflight"
      lead="Some of your rows are answered by the model as it is, and graded: it says whether a job can learn, before any training. A few minutes; it may be left out."
      actions={
        running ? (
          <Button variant="default" loading={cancel.isPending} onClick={() => cancel.mutate(preflight.id)}>
            Stop the preflight
          </Button>
        ) : (
          <Button
            variant="default"
            loading={start.isPending}
            onClick={() => (complete ? start.mutate() : onIncomplete())}
          >
            {preflight ? "Run it again" : "Run a preflight"}
          </Button>
        )
      }
    >
      {start.isError && <Failure error={start.error} />}
      {found.isError && <Failure error={found.error} onRetry={() => found.refetch()} />}
      {preflight && !fits && (
        <Alert color="orange" role="status">
          The form has changed since this preflight: what it found may not hold for the job as it is now.
        </Alert>
      )}
      {running && (
        <Text size="sm" role="status">
          <b>{preflight.phase}</b> It waits its turn behind other jobs on the worker; you may leave this page and come
          back.
        </Text>
      )}
      {preflight?.status === "failed" && (
        <Alert color="red" role="alert" title="The preflight failed">
          <Untrusted text={preflight.error?.message ?? ""} />
        </Alert>
      )}
      {preflight?.status === "cancelled" && <Text size="sm">It was stopped.</Text>}
      {preflight?.report && <ReportView report={preflight.report} />}
    </Section>
  );
}

const VERDICTS = {
  ready: ["green", "Ready"],
  fixable: ["orange", "Fixable"],
  dont: ["red", "Don't"],
} as const;

function ReportView({ report }: { report: Report }) {
  const [colour, word] = VERDICTS[report.verdict];
  const { counts, duration: time, memory, speed } = report;
  return (
    <Stack gap="lg">
      <Alert color={colour} title={word} role="status">
        <Text size="sm">{report.summary}</Text>
        {report.findings.length > 0 && (
          <List size="sm" mt="xs">
            {report.findings.map((finding) => (
              <List.Item key={finding.code}>
                {finding.message} <b>{finding.next_step}</b>
              </List.Item>
            ))}
          </List>
        )}
      </Alert>
      <div className={classes.report}>
        <Stack gap={4}>
          <Text size="sm" fw={600}>
            {count(report.num_rows)} rows, {report.samples_per_row} answers each
          </Text>
          <Bars
            label="Rows by state"
            bars={[
              { key: "dead", label: "dead", value: counts.dead },
              { key: "teachable", label: "teachable", value: counts.teachable },
              { key: "solved", label: "solved", value: counts.solved },
              { key: "ungraded", label: "ungraded", value: counts.ungraded },
            ]}
          />
          <Text size="xs" c="dimmed">
            Teachable, answers to a row differ: {bounded(counts.teachable_share, percent)}. Dead: none passes; solved:
            all pass. Neither moves the model.
          </Text>
        </Stack>
        {report.rewards && (
          <Stack gap={4}>
            <Text size="sm" fw={600}>
              Mean reward of a row
            </Text>
            <Bars label="Rows by mean reward" bars={binsOf(report.rewards)} />
            <Text size="xs" c="dimmed">
              Mean {bounded(report.rewards.mean, number)}
            </Text>
          </Stack>
        )}
      </div>
      <dl className={classes.facts}>
        {report.pass_at.map(({ k, estimate }) => (
          <Fact
            key={k}
            name={k === 1 ? "Passes at once, pass@1" : `Passes in ${k} tries, pass@${k}`}
            value={bounded(estimate, percent)}
          />
        ))}
        {report.signal
          .filter((one) => one.planned)
          .map(({ group_size: size, estimate }) => (
            <Fact key={size} name={`Groups of ${size} with signal`} value={bounded(estimate, percent)} />
          ))}
        {report.held_out && (
          <Fact
            name="Held-out score to beat"
            value={`${number(report.held_out.mean)} ± ${number(1.96 * report.held_out.standard_error)}, ${report.held_out.num_items} rows`}
          />
        )}
        <Fact name="Answers cut off" value={percent(report.truncated_share)} />
        <Fact
          name="Time of the job"
          value={`${duration(time.low_s)} to ${duration(time.high_s)}, ${count(time.total_steps)} steps`}
          note={time.assumes}
        />
        <Fact
          name="Memory"
          value={`${bytes(memory.peak_bytes)} of ${bytes(memory.total_bytes)}`}
          note={memory.device}
        />
        <Fact name="Speed here" value={`${number(speed.tokens_per_s)} tokens/s`} />
        <Fact
          name="Grader"
          value={`${percent(report.grader.failed_share)} failed`}
          note={
            report.grader.latency_p95_s === null
              ? undefined
              : `95 % within ${number(report.grader.latency_p95_s * 1000, 2)} ms`
          }
        />
      </dl>
    </Stack>
  );
}

/** Two neighbours in one: ten bars say as much as twenty. */
function binsOf({ histogram_edges: edges, histogram_counts: counts }: NonNullable<Report["rewards"]>) {
  return counts.flatMap((rows, bin) =>
    bin % 2
      ? []
      : [
          {
            key: String(bin),
            label: `${number(edges[bin], 2)} to ${number(edges[Math.min(bin + 2, edges.length - 1)], 2)}`,
            value: rows + (counts[bin + 1] ?? 0),
          },
        ],
  );
}

function Fact({ name, value, note }: { name: string; value: string; note?: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        {value} {note && <small>{note}</small>}
      </dd>
    </div>
  );
}

function bounded(
  estimate: { value: number; low: number | null; high: number | null },
  format: (value: number) => string,
): string {
  if (estimate.low === null || estimate.high === null) return format(estimate.value);
  return `${format(estimate.value)} (${format(estimate.low)} to ${format(estimate.high)})`;
}
