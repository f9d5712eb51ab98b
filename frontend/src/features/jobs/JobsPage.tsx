import { Button, Group, MultiSelect, Select, Stack, Text, TextInput } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useRef } from "react";
import { answer, api } from "@/api/client";
import { isOver, jobName, statusWord } from "@/api/jobs";
import { modelsQuery } from "@/api/models";
import { usePolling } from "@/api/polling";
import type { JobWithProgressShape } from "@/api/schema";
import { STATUSES, type Status, statusName } from "@/api/status";
import { ago, dateTime, duration, number, plural, signed } from "@/ui/format";
import { useKeys } from "@/ui/keys";
import { useLater } from "@/ui/later";
import { Page } from "@/ui/Page";
import { Sparkline } from "@/ui/Sparkline";
import { StatusMark } from "@/ui/StatusMark";
import { Empty, Loaded } from "@/ui/states";
import { JobTable } from "./JobTable";
import classes from "./jobs.module.css";

const MOST_COMPARED = 6;

export function JobsPage() {
  const search = useSearch({ from: "/frame/jobs" });
  const navigate = useNavigate({ from: "/jobs" });
  const poll = usePolling();
  const filterBox = useRef<HTMLInputElement>(null);
  const query = { status: search.status?.join(","), model: search.model, text: search.text, limit: 50 };
  const jobs = useInfiniteQuery({
    queryKey: ["jobs", query],
    queryFn: ({ pageParam }) =>
      answer(api.GET("/v1/fettle/fine_tuning/jobs", { params: { query: { ...query, after: pageParam } } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => (page.has_more ? (page.last_id ?? undefined) : undefined),
    placeholderData: keepPreviousData,
    // A list is never over: somebody may start a job elsewhere. Without a living job there is no hurry.
    refetchInterval: ({ state }) => {
      const alive = state.data?.pages.some((page) => page.data.some((job) => !isOver(job.status)));
      return alive ? poll(false) : 15_000;
    },
    refetchIntervalInBackground: true,
  });
  const models = useQuery(modelsQuery);
  const rows = jobs.data?.pages.flatMap((page) => page.data) ?? [];
  const chosen = search.compare ?? [];
  const filtered = Boolean(search.status?.length || search.model || search.text);
  const change = (changes: Partial<typeof search>) =>
    navigate({ search: (old) => ({ ...old, ...changes }), replace: true });
  const find = useLater((text: string) => change({ text: text || undefined }), 250);
  const toggle = (id: string) => {
    const next = chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id].slice(-MOST_COMPARED);
    change({ compare: next.length ? next : undefined });
  };
  const compare = () => chosen.length > 1 && navigate({ to: "/jobs/compare", search: { ids: chosen } });
  useKeys({
    n: () => navigate({ to: "/jobs/new" }),
    "/": () => filterBox.current?.focus(),
    c: compare,
  });
  return (
    <Page
      title="Jobs"
      lead={jobs.data ? inWords(rows) : undefined}
      actions={
        <>
          <Button variant="default" renderRoot={(props) => <Link to="/usage" {...props} />}>
            Usage
          </Button>
          <Button variant="default" disabled={chosen.length < 2} onClick={compare}>
            Compare {chosen.length > 1 ? chosen.length : ""}
          </Button>
          <Button renderRoot={(props) => <Link to="/jobs/new" {...props} />}>New job</Button>
        </>
      }
    >
      <Group gap="sm" align="flex-end" className={classes.filters}>
        <TextInput
          ref={filterBox}
          key={search.text === undefined ? "empty" : "filled"}
          label="Name, id or model"
          defaultValue={search.text}
          onChange={(event) => find(event.currentTarget.value)}
          w={220}
        />
        <MultiSelect
          label="Status"
          data={STATUSES.map((status) => ({ value: status, label: statusName(status) }))}
          value={search.status ?? []}
          onChange={(status) => change({ status: status.length ? (status as Status[]) : undefined })}
          placeholder={search.status?.length ? undefined : "any"}
          clearable
          clearButtonProps={{ "aria-label": "Any status" }}
          miw={180}
        />
        <Select
          label="Base model"
          data={[...new Set(models.data?.map((model) => model.id))]}
          value={search.model ?? null}
          onChange={(model) => change({ model: model ?? undefined })}
          placeholder="any"
          clearable
          clearButtonProps={{ "aria-label": "Any model" }}
          w={200}
        />
      </Group>
      <Loaded
        query={jobs}
        lines={8}
        isEmpty={() => rows.length === 0}
        empty={
          filtered ? (
            <Empty
              title="No job fits these filters."
              action={
                <Button
                  variant="default"
                  onClick={() => change({ status: undefined, model: undefined, text: undefined })}
                >
                  Show all jobs
                </Button>
              }
            />
          ) : (
            <Empty
              title="No job yet."
              action={<Button renderRoot={(props) => <Link to="/jobs/new" {...props} />}>New job</Button>}
            >
              A job trains a model on your rows with your grader, and measures on held-out rows whether it got better.
            </Empty>
          )
        }
      >
        {() => (
          <Stack gap="sm">
            <JobTable
              jobs={rows}
              columns={COLUMNS}
              chosen={chosen}
              onToggle={toggle}
              onOpen={(job) => navigate({ to: "/jobs/$jobId", params: { jobId: job.id } })}
            />
            {jobs.hasNextPage && (
              <Button variant="default" loading={jobs.isFetchingNextPage} onClick={() => jobs.fetchNextPage()}>
                Older jobs
              </Button>
            )}
          </Stack>
        )}
      </Loaded>
    </Page>
  );
}

function inWords(jobs: readonly JobWithProgressShape[]): string {
  const running = jobs.filter((job) => job.status === "running").length;
  const waiting = jobs.filter((job) => job.status === "queued" || job.status === "validating_files").length;
  if (running + waiting === 0) return jobs.length ? "Nothing runs now." : "";
  const parts = [running && `${plural(running, "job")} running`, waiting && `${waiting} waiting`];
  return `${parts.filter(Boolean).join(", ")}.`;
}

const COLUMNS = [
  {
    header: "Job",
    cell: (job: JobWithProgressShape) => (
      <Stack gap={0}>
        <Link to="/jobs/$jobId" params={{ jobId: job.id }} className={classes.name}>
          {jobName(job)}
        </Link>
        <Text size="xs" c="dimmed" title={dateTime(job.created_at)}>
          {job.model} · {ago(job.created_at, Date.now() / 1000)}
        </Text>
      </Stack>
    ),
  },
  { header: "Status", cell: (job: JobWithProgressShape) => <StatusMark word={statusWord(job)} /> },
  {
    header: "Held-out score",
    cell: (job: JobWithProgressShape) => <Sparkline points={job.progress.held_out} label="Held-out score" />,
  },
  { header: "Step", right: true, cell: (job: JobWithProgressShape) => steps(job) },
  { header: "Time left", right: true, cell: (job: JobWithProgressShape) => timeLeft(job) },
  { header: "Best so far", right: true, cell: (job: JobWithProgressShape) => best(job) },
  { header: "Gain, 95 % interval", right: true, cell: (job: JobWithProgressShape) => gain(job) },
];

function steps(job: JobWithProgressShape): string {
  const { step, total_steps: total } = job.fettle;
  return total ? `${step} / ${total}` : "–";
}

function timeLeft(job: JobWithProgressShape): string {
  if (job.status !== "running" || !job.estimated_finish) return "–";
  return `about ${duration(job.estimated_finish - Date.now() / 1000)}`;
}

function best(job: JobWithProgressShape) {
  const { best: found } = job.progress;
  if (!found) return "–";
  return (
    <>
      {number(found.mean)}
      <Text span size="xs" c="dimmed">
        {" "}
        {found.step === 0 ? "at the start" : `step ${found.step}`}
      </Text>
    </>
  );
}

function gain(job: JobWithProgressShape) {
  const selection = job.fettle.selection as { gain: number; gain_low: number; gain_high: number } | null;
  if (!selection) return "–";
  return (
    <>
      {signed(selection.gain)}
      <Text span size="xs" c="dimmed">
        {" "}
        {signed(selection.gain_low)} to {signed(selection.gain_high)}
      </Text>
    </>
  );
}
