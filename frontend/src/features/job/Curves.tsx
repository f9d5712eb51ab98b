import { Button, Group, NumberInput, SegmentedControl, Slider, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { axisOf } from "@/api/axis";
import { answer, api } from "@/api/client";
import { checkpointsQuery, isOver, metricsQuery } from "@/api/jobs";
import { usePolling } from "@/api/polling";
import type { JobShape, MetricsShape } from "@/api/schema";
import { number, percent } from "@/ui/format";
import { LazyChart } from "@/ui/LazyChart";
import { useLater } from "@/ui/later";
import { Section } from "@/ui/Page";
import { chartsOf } from "./curve-list";
import { checkpointMarks, nearestStep, stepsOf, stretchOf } from "./curve-steps";
import classes from "./job.module.css";
import { type Notice, noticesOf } from "./notices";

const X_NAMES = { step: "step", time: "second", tokens: "token" } as const;
const FORMATS = { number: (value: number) => number(value), percent: (value: number) => percent(value) };

/** The curves, with one cursor over all of them. A click on a point leads to the rollouts of its step. */
export function Curves({ job, metrics: whole }: { job: JobShape; metrics: MetricsShape }) {
  const { x = "step", smooth = 0.6, from, to } = useSearch({ from: "/frame/jobs/$jobId" });
  const navigate = useNavigate({ from: "/jobs/$jobId" });
  const poll = usePolling();
  const over = isOver(job.status);
  const zoomed = from !== undefined && to !== undefined;
  const part = useQuery({
    ...metricsQuery(job.id, over, zoomed ? { from, to } : undefined),
    enabled: zoomed,
    refetchInterval: () => poll(over),
    refetchIntervalInBackground: true,
  });
  const metrics = zoomed ? (part.data ?? whole) : whole;
  const kept = useQuery({
    ...checkpointsQuery(job.id, over),
    refetchInterval: () => poll(over),
    refetchIntervalInBackground: true,
  });
  const messages = useQuery({
    queryKey: ["job", job.id, "messages", over],
    queryFn: () =>
      answer(
        api.GET("/v1/fine_tuning/jobs/{job_id}/events", {
          params: { path: { job_id: job.id }, query: { type: "message", limit: 1000 } },
        }),
      ),
    refetchInterval: () => poll(over),
    refetchIntervalInBackground: true,
    placeholderData: (old) => old,
  });
  const at = useMemo(() => axisOf(metrics, x), [metrics, x]);
  const charts = useMemo(() => chartsOf(metrics, { smooth, at }), [metrics, smooth, at]);
  const events = messages.data?.data;
  const notices = useMemo(() => noticesOf(events ?? []), [events]);
  const marks = useMemo(
    () => [
      ...notices.map((notice, index) => ({ x: at(notice.step), label: letter(index) })),
      ...checkpointMarks(kept.data?.data ?? [], at),
    ],
    [notices, kept.data, at],
  );
  const steps = useMemo(() => stepsOf(metrics), [metrics]);
  if (whole.last_step === null) {
    return (
      <Text c="dimmed" size="sm">
        {over ? "Nothing was measured before it ended." : "The first point comes when the base has been measured."}
      </Text>
    );
  }
  const open = (where: number) => {
    const step = nearestStep(steps, where, at);
    navigate({
      to: "/jobs/$jobId/rollouts",
      params: { jobId: job.id },
      search: { step, purpose: step === 0 ? "eval" : undefined },
    });
  };
  const zoom = (stretch: [number, number]) =>
    navigate({ search: (old) => ({ ...old, ...stretchOf(steps, stretch, at) }), replace: true });
  return (
    <Stack gap="lg">
      <Group gap="xl" align="flex-end">
        <Stack gap={4}>
          <Text size="xs" c="dimmed" id="axis-label">
            Along
          </Text>
          <SegmentedControl
            size="xs"
            aria-labelledby="axis-label"
            value={x}
            onChange={(next) => navigate({ search: (old) => ({ ...old, x: next as typeof x }), replace: true })}
            data={[
              { value: "step", label: "Steps" },
              { value: "time", label: "Time" },
              { value: "tokens", label: "Tokens" },
            ]}
          />
        </Stack>
        <Stack gap={4} w={180}>
          <Text size="xs" c="dimmed">
            Smoothing {number(smooth, 2)}
          </Text>
          <Slider
            thumbLabel="Smoothing"
            label={null}
            size="sm"
            min={0}
            max={0.95}
            step={0.05}
            defaultValue={smooth}
            onChangeEnd={(next) => navigate({ search: (old) => ({ ...old, smooth: next }), replace: true })}
          />
        </Stack>
        <StretchInputs key={`${from}-${to}`} from={from} to={to} last={whole.last_step} />
        <Text size="xs" c="dimmed" maw={420}>
          The raw values stay as a faint line. A click on a point, or Enter at it, shows the rollouts of its step;
          drawing with the pointer looks closer. ◆ marks a kept checkpoint, ✓ the delivered one.
        </Text>
      </Group>
      <div className={classes.charts}>
        {charts.map((chart) => (
          <div key={chart.title} className={chart.wide ? classes.wide : undefined}>
            <LazyChart
              title={chart.title}
              series={chart.series}
              xName={X_NAMES[x]}
              format={FORMATS[chart.format]}
              height={chart.wide ? 260 : 160}
              range={chart.range}
              sync={job.id}
              marks={chart.wide ? marks : undefined}
              onSelect={open}
              onZoom={zoom}
            />
          </div>
        ))}
      </div>
      {notices.length > 0 && <Notices jobId={job.id} notices={notices} />}
    </Stack>
  );
}

function letter(index: number): string {
  return index < 26 ? String.fromCharCode(97 + index) : `${index + 1}`;
}

/** The shown steps by number: what drawing with the pointer does, for the keyboard, and the way back. */
function StretchInputs({ from, to, last }: { from?: number; to?: number; last: number }) {
  const navigate = useNavigate({ from: "/jobs/$jobId" });
  const [typed, setTyped] = useState<{ from?: number; to?: number }>({ from, to });
  const ends = { from: typed.from ?? 0, to: typed.to ?? last }; // while nothing was typed it ends where the job is
  const show = useLater((next: typeof ends) => {
    if (next.from < next.to) navigate({ search: (old) => ({ ...old, ...next }), replace: true });
  }, 600);
  const change = (changed: Partial<typeof ends>) => {
    setTyped({ ...typed, ...changed });
    show({ ...ends, ...changed });
  };
  return (
    <Group gap="xs" align="flex-end">
      {(["from", "to"] as const).map((name) => (
        <NumberInput
          key={name}
          size="xs"
          w={86}
          label={name === "from" ? "From step" : "To step"}
          min={0}
          value={ends[name]}
          onChange={(value) => typeof value === "number" && change({ [name]: value })}
        />
      ))}
      {from !== undefined && (
        <Button
          size="xs"
          variant="default"
          onClick={() => navigate({ search: (old) => ({ ...old, from: undefined, to: undefined }), replace: true })}
        >
          Show all steps
        </Button>
      )}
    </Group>
  );
}

function Notices({ jobId, notices }: { jobId: string; notices: readonly Notice[] }) {
  return (
    <Section title="What the training noticed" lead="Marked by these letters in the first chart.">
      <ol className={classes.notices}>
        {notices.map(({ step, events }, index) => (
          <li key={step}>
            <b>{letter(index)}</b>
            <Link to="/jobs/$jobId/rollouts" params={{ jobId }} search={{ step }} className={classes.noticeStep}>
              step {step}
            </Link>
            <div>
              {events.map((event) => (
                <div key={event.id}>
                  {event.level === "warn" && <b>Warning: </b>}
                  {event.message}
                </div>
              ))}
            </div>
          </li>
        ))}
      </ol>
    </Section>
  );
}
