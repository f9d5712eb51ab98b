import { Anchor, Button, Group, SegmentedControl, Select, Stack, Text, TextInput } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useMemo, useRef } from "react";
import { answer, api } from "@/api/client";
import { jobName, jobQuery } from "@/api/jobs";
import type { JobShape, RolloutGroupShape } from "@/api/schema";
import { count, number, plural, signed } from "@/ui/format";
import { useKeys } from "@/ui/keys";
import { useLater } from "@/ui/later";
import { Page } from "@/ui/Page";
import { Empty, Loaded } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import { type Column, VirtualTable } from "@/ui/VirtualTable";
import { Completions } from "./Completions";
import { rowKeyOf, rowTextQuery, sorted } from "./groups";
import { Histogram } from "./Histogram";
import classes from "./rollouts.module.css";
import { StepBar } from "./StepBar";

const PURPOSES = [
  { value: "train", label: "Training" },
  { value: "eval", label: "Evaluations" },
  { value: "final", label: "Final choice" },
  { value: "report", label: "Gain" },
];

/** Prompts, the steps at which one was answered, and its answers: each choice narrows what is below. */
export function RolloutsPage() {
  const { jobId } = useParams({ from: "/frame/jobs/$jobId/rollouts" });
  const search = useSearch({ from: "/frame/jobs/$jobId/rollouts" });
  const navigate = useNavigate({ from: "/jobs/$jobId/rollouts" });
  const filterBox = useRef<HTMLInputElement>(null);
  const { purpose = "train", row, step, against, min, max, failed, text, sort = "row" } = search;
  const change = (changes: Partial<typeof search>) =>
    navigate({ search: (old) => ({ ...old, ...changes }), replace: true });
  const job = useQuery(jobQuery(jobId));
  const filters = { purpose, reward_min: min, reward_max: max, failed, text };
  const groups = (by: "row" | "step", where: { row?: number; step?: number }) => ({
    queryKey: ["job", jobId, "rollout-groups", by, filters, where],
    queryFn: () =>
      answer(
        api.GET("/v1/fettle/fine_tuning/jobs/{job_id}/rollouts/groups", {
          params: { path: { job_id: jobId }, query: { by, ...filters, ...where } },
        }),
      ),
    placeholderData: keepPreviousData,
    staleTime: 30_000,
  });
  const prompts = useQuery(groups("row", { step }));
  const steps = useQuery(groups("step", { row }));
  // The bars show all rewards, also those that a bin just chosen leaves out: else one could not choose another.
  const unbounded = { purpose, text, row, step };
  const rewards = useQuery({
    queryKey: ["job", jobId, "rewards", unbounded],
    queryFn: () =>
      answer(
        api.GET("/v1/fettle/fine_tuning/jobs/{job_id}/rollouts/groups", {
          params: { path: { job_id: jobId }, query: { by: "step", ...unbounded } },
        }),
      ),
    placeholderData: keepPreviousData,
    staleTime: 30_000,
  });
  const find = useLater((typed: string) => change({ text: typed || undefined }), 300);
  const shownPrompts = useMemo(() => sorted(prompts.data?.groups ?? [], sort), [prompts.data, sort]);
  const atSteps = steps.data?.groups ?? [];
  const move = (by: number) => {
    const here = atSteps.findIndex((one) => one.step === step);
    const next = atSteps[here < 0 ? (by > 0 ? 0 : atSteps.length - 1) : here + by];
    if (next?.step !== undefined) change({ step: next.step });
  };
  useKeys({ "[": () => move(-1), "]": () => move(1), "/": () => filterBox.current?.focus() });
  const filtered = min !== undefined || max !== undefined || failed || text !== undefined;
  return (
    <Page
      title={job.data ? `Rollouts of ${jobName(job.data)}` : "Rollouts"}
      lead={
        <>
          {prompts.data && inWords(prompts.data.num_rollouts, prompts.data.groups)}{" "}
          <Anchor underline="always" renderRoot={(props) => <Link to="/jobs/$jobId" params={{ jobId }} {...props} />}>
            Back to the job
          </Anchor>
        </>
      }
    >
      <Group gap="md" align="flex-end">
        <SegmentedControl
          aria-label="Purpose"
          value={purpose}
          data={PURPOSES}
          onChange={(next) => change({ purpose: next as typeof purpose, row: undefined, step: undefined })}
        />
        <TextInput
          ref={filterBox}
          key={text === undefined ? "empty" : "filled"}
          label="Text in answer or thinking"
          defaultValue={text}
          onChange={(event) => find(event.currentTarget.value)}
          w={{ base: "100%", xs: 240 }}
        />
        {(filtered || row !== undefined || step !== undefined) && (
          <Button
            variant="default"
            onClick={() =>
              change({
                row: undefined,
                step: undefined,
                min: undefined,
                max: undefined,
                failed: undefined,
                text: undefined,
              })
            }
          >
            Show all
          </Button>
        )}
      </Group>
      <Loaded
        query={prompts}
        lines={10}
        isEmpty={(found) => found.num_rollouts === 0 && !filtered && row === undefined && step === undefined}
        empty={
          <Empty title="No rollouts yet.">
            They are stored with each checkpoint, and those of the final measurements at the end.
          </Empty>
        }
      >
        {() => (
          <div className={classes.layout}>
            <Stack gap="sm" component="section" aria-label="Prompts" miw={0}>
              <Group justify="space-between" align="flex-end">
                <Text fw={600}>{plural(shownPrompts.length, "prompt")}</Text>
                <Select
                  size="xs"
                  aria-label="Order of the prompts"
                  value={sort}
                  onChange={(next) => change({ sort: (next as typeof sort) ?? undefined })}
                  data={[
                    { value: "row", label: "in the file's order" },
                    { value: "mean", label: "lowest reward first" },
                    { value: "std", label: "most disagreement first" },
                    { value: "change", label: "least learnt first" },
                  ]}
                  w={190}
                  allowDeselect={false}
                />
              </Group>
              {shownPrompts.length === 0 ? (
                <Empty title="No rollout fits the filters." />
              ) : (
                <VirtualTable
                  label="Prompts"
                  rows={shownPrompts}
                  columns={promptColumns(row)}
                  rowKey={rowKeyOf}
                  height={360}
                  onOpen={(group) => change({ row: group.row === row ? undefined : group.row })}
                />
              )}
              {rewards.data?.histogram && (
                <Histogram
                  histogram={rewards.data.histogram}
                  chosen={{ min, max, failed }}
                  onChoose={(bin) => change(bin)}
                />
              )}
            </Stack>
            <Stack gap="md" component="section" aria-label="Answers" miw={0}>
              <Loaded query={steps} lines={3}>
                {({ groups: found }) => (
                  <StepBar
                    steps={found}
                    chosen={step}
                    onChoose={(next) => change({ step: next === step ? undefined : next })}
                  />
                )}
              </Loaded>
              {row !== undefined && job.data && (
                <Prompt job={job.data} row={row} group={shownPrompts.find((one) => one.row === row)} />
              )}
              {row !== undefined && atSteps.length > 1 && (
                <Select
                  label="Show what changed since"
                  size="xs"
                  w={260}
                  clearable
                  placeholder="nothing"
                  data={atSteps.map((one) => ({ value: String(one.step), label: stepName(one.step ?? 0, purpose) }))}
                  value={against === undefined ? null : String(against)}
                  onChange={(next) => change({ against: next === null ? undefined : Number(next) })}
                />
              )}
              <Completions
                jobId={jobId}
                filters={{ ...filters, row, step }}
                withRow={row === undefined}
                against={row === undefined ? undefined : against}
                marked={search.unlikely ?? false}
                onMark={(on) => change({ unlikely: on || undefined })}
              />
            </Stack>
          </div>
        )}
      </Loaded>
    </Page>
  );
}

/** The first training step is answered by the base itself, before anything was learnt. */
function stepName(step: number, purpose: string): string {
  const isBase = step === 0 || (purpose === "train" && step === 1);
  return isBase ? `step ${step}, the base's answers` : `step ${step}`;
}

function inWords(total: number, groups: readonly RolloutGroupShape[]): string {
  return `${plural(total, "answer")} to ${plural(groups.length, "prompt")}. Choose a prompt, a step or a bar to narrow them down.`;
}

const promptColumns = (chosen: number | undefined): Column<RolloutGroupShape>[] => [
  {
    key: "row",
    header: "Row",
    width: "60px",
    align: "right",
    cell: (group) => (group.row === chosen ? <b>▸ {(group.row ?? 0) + 1}</b> : (group.row ?? 0) + 1),
  },
  { key: "mean", header: "Reward", width: "76px", align: "right", cell: (group) => number(group.mean) },
  { key: "std", header: "Spread", width: "76px", align: "right", cell: (group) => number(group.std) },
  {
    key: "change",
    header: "First to last",
    width: "minmax(108px, 1fr)",
    align: "right",
    cell: (group) =>
      group.first_mean === null || group.last_mean === null || group.num_steps < 2
        ? "one visit"
        : signed(group.last_mean - group.first_mean),
  },
  { key: "count", header: "Answers", width: "86px", align: "right", cell: (group) => count(group.num_rollouts) },
];

function Prompt({ job, row, group }: { job: JobShape; row: number; group: RolloutGroupShape | undefined }) {
  const file = group?.source === "validation_file" && job.validation_file ? job.validation_file : job.training_file;
  const models = job.fine_tuned_model ? [job.model, job.fine_tuned_model] : [job.model];
  const found = useQuery(rowTextQuery(file, row));
  return (
    <div className={classes.prompt}>
      <Text size="xs" c="dimmed">
        Row {row + 1} of{" "}
        <Anchor
          size="xs"
          underline="always"
          renderRoot={(props) => <Link to="/datasets/$fileId" params={{ fileId: file }} {...props} />}
        >
          {file === job.validation_file ? "the held-out rows" : "the training rows"}
        </Anchor>
        {" · "}
        <Anchor
          size="xs"
          underline="always"
          renderRoot={(props) => <Link to="/playground" search={{ models, file, line: row + 1 }} {...props} />}
        >
          Ask it in the playground
        </Anchor>
      </Text>
      <Loaded query={found} lines={2}>
        {({ messages, fields }) => (
          <Stack gap={4}>
            {messages.map((message, index) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: the messages of one row never move
              <Text key={index} size="sm" component="div">
                {messages.length > 1 && <b>{message.role}: </b>}
                <Untrusted text={message.text} />
              </Text>
            ))}
            {fields.map(([name, value]) => (
              <Text key={name} size="xs" c="dimmed" component="div">
                {name}: <Untrusted text={value} />
              </Text>
            ))}
          </Stack>
        )}
      </Loaded>
    </div>
  );
}
