import {
  Alert,
  Anchor,
  Button,
  Group,
  NumberInput,
  SegmentedControl,
  Select,
  Stack,
  Text,
  TextInput,
} from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { type UseQueryResult, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { answer, api } from "@/api/client";
import { ApiError } from "@/api/errors";
import { jobQuery } from "@/api/jobs";
import { modelsQuery } from "@/api/models";
import type { JobCreateShapeRequest } from "@/api/schema";
import { bytes } from "@/ui/format";
import { useLater } from "@/ui/later";
import { Page, Section } from "@/ui/Page";
import { CopyAs } from "./CopyAs";
import { GraderChoice, gradersQuery } from "./GraderChoice";
import { formOf, rememberedBody, searchOf } from "./memory";
import classes from "./new-job.module.css";
import { Parameters } from "./Parameters";
import { PreflightPanel, preflightQuery } from "./PreflightPanel";
import { inShort, placeOf, planQuery } from "./plan";
import { type Form, problemsOf, requestOf } from "./request";

/** One page from rows to a running job; the address holds what was chosen. */
export function NewJobPage() {
  const search = useSearch({ from: "/frame/jobs/new" });
  const from = useQuery({ ...jobQuery(search.from ?? ""), enabled: search.from !== undefined, staleTime: 60_000 });
  if (search.from && from.isPending) return <Page title="New job">Loading the job to begin from…</Page>;
  return <JobForm key={search.from ?? ""} initial={formOf(search, from.data)} fromFailed={from.isError} />;
}

function JobForm({ initial, fromFailed }: { initial: Form; fromFailed: boolean }) {
  const search = useSearch({ from: "/frame/jobs/new" });
  const navigate = useNavigate({ from: "/jobs/new" });
  const client = useQueryClient();
  const [form, setForm] = useState(initial);
  const [tried, setTried] = useState(false);
  const change = (changes: Partial<Form>) => setForm((old) => ({ ...old, ...changes }));
  const files = useQuery({
    queryKey: ["files", "fine-tune"],
    queryFn: () => answer(api.GET("/v1/files", { params: { query: { purpose: "fine-tune", limit: 1000 } } })),
  });
  const models = useQuery(modelsQuery);
  const preflight = useQuery({ ...preflightQuery(search.preflight ?? ""), enabled: search.preflight !== undefined });
  const problems = problemsOf(form);
  const complete = Object.keys(problems).length === 0;
  const plain = requestOf(form);
  // Only of exactly this job may the answers be taken over, and only then does its plan say what auto becomes.
  const fits = search.preflight !== undefined && rememberedBody(search.preflight) === JSON.stringify(plain);
  const usable = fits && preflight.data?.status === "succeeded";
  const body = requestOf(form, usable ? search.preflight : undefined);
  const write = useLater(
    (typed: Form) =>
      navigate({
        search: (old) => ({ ...searchOf(typed), preflight: old.preflight }),
        hash: true,
        replace: true,
      }),
    300,
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: what was typed goes into the address, not the way back
  useEffect(() => write(form), [form]);
  const create = useMutation({
    mutationFn: () => answer(api.POST("/v1/fine_tuning/jobs", { body: body as unknown as JobCreateShapeRequest })),
    onSuccess: (job) => {
      client.setQueryData(jobQuery(job.id).queryKey, job);
      client.invalidateQueries({ queryKey: ["jobs"] });
      navigate({ to: "/jobs/$jobId", params: { jobId: job.id } });
    },
  });
  const [asked] = useDebouncedValue(JSON.stringify(body), 500);
  const foreseen = useQuery(planQuery(JSON.parse(asked), complete));
  const place = foreseen.isError ? placeOf(foreseen.error) : null;
  const plan = complete && !foreseen.isError ? foreseen.data : undefined;
  const shown = (name: string) =>
    (tried ? problems[name] : undefined) ?? (complete && place === name ? foreseen.error?.message : undefined);
  const fileOptions = (files.data?.data ?? []).map((file) => ({
    value: file.id,
    label: `${file.filename} · ${bytes(file.bytes)}`,
    disabled: file.status === "error",
  }));
  const submit = () => {
    setTried(true);
    if (complete) create.mutate();
  };
  return (
    <Page title="New job" lead="Rows, a grader and a model; everything else can stay on auto.">
      <div className={classes.layout}>
        <Stack gap="xl" miw={0}>
          {fromFailed && <Alert color="orange">The job to begin from could not be read; the form is empty.</Alert>}
          <Section title="Model">
            <Group align="flex-start">
              <Select
                label="What training begins from"
                description={models.data?.find((model) => model.id === form.model)?.facts.description}
                inputWrapperOrder={["label", "input", "description", "error"]}
                data={[...new Set(models.data?.map((model) => model.id))]}
                value={form.model || null}
                onChange={(model) => change({ model: model ?? "" })}
                error={shown("model")}
                searchable
                w={{ base: "100%", sm: 420 }}
              />
              <SegmentedControl
                aria-label="Method"
                value={form.method}
                onChange={(method) => change({ method: method as Form["method"] })}
                mt={{ base: 0, sm: 24 }}
                data={[
                  { value: "reinforcement", label: "Reinforcement" },
                  { value: "supervised", label: "Supervised" },
                ]}
              />
            </Group>
          </Section>
          <Section
            title="Data"
            lead={
              <>
                {files.data?.data.length === 0 ? "There is no dataset yet. " : ""}
                <Anchor size="sm" underline="always" renderRoot={(props) => <Link to="/datasets" {...props} />}>
                  Upload one
                </Anchor>
              </>
            }
          >
            <Group align="flex-start">
              <Select
                label="Rows to train on"
                data={fileOptions}
                value={form.training || null}
                onChange={(training) => change({ training: training ?? "" })}
                error={shown("training")}
                searchable
                w={{ base: "100%", sm: 320 }}
              />
              <Select
                label="Rows to measure on"
                description="None: a share of the training rows is held out"
                inputWrapperOrder={["label", "input", "description", "error"]}
                data={fileOptions}
                value={form.validation || null}
                onChange={(validation) => change({ validation: validation ?? "" })}
                error={shown("validation")}
                placeholder="Hold out a share"
                searchable
                clearable
                clearButtonProps={{ "aria-label": "Hold out a share instead" }}
                w={{ base: "100%", sm: 320 }}
              />
              {!form.validation && (
                <NumberInput
                  label="Share held out"
                  value={form.split}
                  onChange={(split) => change({ split: Number(split) })}
                  min={0.01}
                  max={0.99}
                  step={0.05}
                  error={problems.split}
                  w={130}
                />
              )}
            </Group>
          </Section>
          {plan && plan.warnings.length > 0 && (
            <Alert color="orange" role="status" title="About the rows">
              {plan.warnings.map((warning) => (
                <Text size="sm" key={warning}>
                  {warning}
                </Text>
              ))}
            </Alert>
          )}
          {form.method === "reinforcement" && (
            <Section
              title="Grader"
              lead="What an answer is worth. The job keeps its content, whatever becomes of the stored one."
            >
              <GraderChoice
                stored={form.grader}
                text={form.graderText}
                training={form.training}
                onChange={(grader, graderText) => change({ grader, graderText })}
                error={shown("grader")}
              />
            </Section>
          )}
          <Parameters
            form={form}
            problems={problems}
            plan={plan?.plan ?? null}
            reasons={plan?.reasons ?? {}}
            state={stateOf(complete, foreseen)}
            error={shown("parameters")}
            onChange={(set) => change({ set })}
          />
          <Section title="Name">
            <Group align="flex-start">
              <TextInput
                label="Suffix"
                description="Part of the model's name"
                inputWrapperOrder={["label", "input", "description", "error"]}
                value={form.suffix}
                maxLength={64}
                onChange={(event) => change({ suffix: event.currentTarget.value })}
                w={240}
              />
              <TextInput
                label="Seed"
                description="Empty: chosen at random"
                inputWrapperOrder={["label", "input", "description", "error"]}
                value={form.seed}
                onChange={(event) => change({ seed: event.currentTarget.value })}
                error={problems.seed}
                w={160}
              />
            </Group>
          </Section>
          {form.method === "reinforcement" && (
            <PreflightPanel
              id={search.preflight}
              fits={fits}
              complete={complete}
              body={plain}
              onStarted={(id) => navigate({ search: (old) => ({ ...old, preflight: id }), replace: true })}
              onIncomplete={() => setTried(true)}
            />
          )}
        </Stack>
        <aside className={classes.rail} aria-label="Summary">
          <Stack gap="sm">
            <Text fw={600}>This job</Text>
            <Summary form={form} files={files.data?.data ?? []} plan={plan ? inShort(plan.plan) : ""} />
            {form.method === "reinforcement" && !search.preflight && (
              <Anchor size="sm" href="#preflight">
                Look before you train: run a preflight
              </Anchor>
            )}
            {usable && preflight.data?.verdict && (
              <Text size="sm">
                Preflight: <b>{preflight.data.verdict === "dont" ? "don't" : preflight.data.verdict}</b>. Its answers
                stand in for the first evaluation.
              </Text>
            )}
            {tried && !complete && (
              <Alert color="orange" role="alert" title="Not yet">
                {Object.values(problems).map((problem) => (
                  <Text size="sm" key={problem}>
                    {problem}
                  </Text>
                ))}
              </Alert>
            )}
            {create.isError && (
              <Alert color="red" role="alert" title="The server refused it">
                <Text size="sm">{create.error.message}</Text>
                {create.error instanceof ApiError && create.error.param && <Text size="xs">{create.error.param}</Text>}
              </Alert>
            )}
            <Button onClick={submit} loading={create.isPending}>
              Create the job
            </Button>
            <CopyAs body={body} complete={complete} />
            <Anchor size="sm" renderRoot={(props) => <Link to="/jobs" {...props} />}>
              Back to the jobs
            </Anchor>
          </Stack>
        </aside>
      </div>
    </Page>
  );
}

/** What the values beside the parameters are, or why there are none. */
function stateOf(complete: boolean, { isError, error, isFetching }: UseQueryResult): string {
  if (!complete) return "Empty means auto. What each auto becomes is shown once model, data and grader are chosen.";
  if (isFetching) return "Empty means auto. Working out what each auto becomes…";
  if (isError) return placeOf(error) ? "What is wrong is said at its field." : `${error?.message} Empty means auto.`;
  return "Empty means auto; beside each what it becomes for exactly this job, and why.";
}

interface SummaryProps {
  form: Form;
  files: readonly { id: string; filename: string }[];
  plan: string;
}

function Summary({ form, files, plan }: SummaryProps) {
  const graders = useQuery(gradersQuery);
  const stored = graders.data?.data.find((grader) => grader.newest.id === form.grader);
  const name = (id: string) => files.find((file) => file.id === id)?.filename ?? id;
  const changed = Object.keys(form.set).length;
  const lines: [string, string][] = [
    ["Model", form.model || "–"],
    ["Training", form.training ? name(form.training) : "–"],
    ["Held out", form.validation ? name(form.validation) : `${Math.round(form.split * 100)} % of the training rows`],
    ...(form.method === "reinforcement"
      ? [["Grader", stored?.name || form.grader || (form.graderText.trim() ? "written here" : "–")] as [string, string]]
      : []),
    ["Parameters", changed ? `${changed} set, the rest auto` : "all auto"],
    ...(plan ? [["Plan", plan] as [string, string]] : []),
  ];
  return (
    <dl className={classes.summary}>
      {lines.map(([label, value]) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
