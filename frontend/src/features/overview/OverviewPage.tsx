import { Anchor, Badge, Button, Group, SimpleGrid, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { answer, api } from "@/api/client";
import { modelsQuery } from "@/api/models";
import { usePolling } from "@/api/polling";
import type { JobShape, JobWithProgressShape } from "@/api/schema";
import { ago } from "@/ui/format";
import { LoadExample } from "@/ui/LoadExample";
import { Page, Section } from "@/ui/Page";
import { Sparkline } from "@/ui/Sparkline";
import { Empty, Loaded } from "@/ui/states";
import classes from "./overview.module.css";
import { checklist, lead, needsYou, outcome, progressOf, running, type Step } from "./state";

export function OverviewPage() {
  const poll = usePolling();
  const jobs = useQuery({
    queryKey: ["jobs", "newest"],
    queryFn: () => answer(api.GET("/v1/fettle/fine_tuning/jobs", { params: { query: { limit: 50 } } })),
    refetchInterval: ({ state }) => poll(running(state.data?.data ?? []).length === 0),
    refetchIntervalInBackground: true,
  });
  const files = useQuery({
    queryKey: ["files"],
    queryFn: () => answer(api.GET("/v1/files", { params: { query: { purpose: "fine-tune", limit: 1000 } } })),
  });
  const graders = useQuery({ queryKey: ["graders"], queryFn: () => answer(api.GET("/v1/fettle/graders")) });
  const models = useQuery(modelsQuery);
  const preflights = useQuery({
    queryKey: ["preflights"],
    queryFn: () => answer(api.GET("/v1/fettle/preflight", { params: { query: { limit: 20 } } })),
  });
  return (
    <Page title="Overview" lead={jobs.data && lead(jobs.data.data)}>
      <Loaded query={jobs}>
        {({ data }) => {
          const steps = checklist({
            files: files.data?.data ?? [],
            graders: graders.data?.data ?? [],
            baseModels: (models.data ?? []).filter((one) => one.facts.kind === "base").map((one) => one.id),
            preflights: preflights.data?.data ?? [],
            jobs: data,
          });
          const settled = files.data !== undefined && !graders.isPending && !preflights.isPending;
          return (
            <>
              {settled && steps.some((step) => !step.done) && <Checklist steps={steps} begin={data.length === 0} />}
              <NeedsYou jobs={data} />
              <Running jobs={running(data)} />
              <LatestJobs jobs={data.filter((job) => !running([job]).length).slice(0, 5)} />
              <LastModels />
            </>
          );
        }}
      </Loaded>
    </Page>
  );
}

function Checklist({ steps, begin }: { steps: Step[]; begin: boolean }) {
  const next = steps.find((step) => !step.done);
  return (
    <Section title="From questions to a better model">
      <ol className={classes.steps}>
        {steps.map((step) => (
          <li key={step.title} data-done={step.done || undefined} aria-current={step === next ? "step" : undefined}>
            <span className={classes.tick} aria-hidden>
              {step.done ? "✓" : ""}
            </span>
            <Stack gap={2} flex={1}>
              <Text fw={600}>
                {step.title}
                {step.done && (
                  <Text span size="sm" c="dimmed" fw={400}>
                    {" "}
                    done
                  </Text>
                )}
              </Text>
              <Text size="sm" c="dimmed">
                {step.hint}
              </Text>
            </Stack>
            <Button
              renderRoot={(props) => <Link to={step.to} search={step.search as never} hash={step.hash} {...props} />}
              variant={step === next ? "filled" : "default"}
              size="xs"
              aria-label={`${step.verb}: ${step.title}`}
            >
              {step.verb}
            </Button>
          </li>
        ))}
      </ol>
      {begin && <LoadExample />}
    </Section>
  );
}

function NeedsYou({ jobs }: { jobs: JobShape[] }) {
  const found = needsYou(jobs);
  if (found.length === 0) return null;
  return (
    <Section title="Needs you">
      <Table>
        <Table.Tbody>
          {found.map(({ job, why }) => (
            <Table.Tr key={job.id}>
              <Table.Td w={110}>
                <Badge color={job.status === "failed" ? "red" : "orange"}>{job.status}</Badge>
              </Table.Td>
              <Table.Td>
                <JobLink job={job} />
                <Text size="sm">{why}</Text>
              </Table.Td>
              <Table.Td ta="right" c="dimmed" fz="sm" visibleFrom="sm">
                {ago(job.finished_at ?? job.created_at, Date.now() / 1000)}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Section>
  );
}

function Running({ jobs }: { jobs: JobWithProgressShape[] }) {
  if (jobs.length === 0) return null;
  return (
    <Section title="Running">
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        {jobs.map((job) => (
          <Link key={job.id} to="/jobs/$jobId" params={{ jobId: job.id }} className={classes.job}>
            <Group justify="space-between" wrap="nowrap">
              <Text fw={600}>{nameOf(job)}</Text>
              <Badge>{job.status}</Badge>
            </Group>
            <Group justify="space-between" wrap="nowrap">
              <Text size="sm" c="dimmed">
                {job.fettle.phase} {progressOf(job, Date.now() / 1000)}
              </Text>
              {job.progress.held_out.length > 1 && <Sparkline points={job.progress.held_out} label="Held-out score" />}
            </Group>
            {job.fettle.total_steps !== null && (
              <progress
                className={classes.progress}
                aria-label={`Steps of ${nameOf(job)}`}
                max={job.fettle.total_steps}
                value={job.fettle.step}
              />
            )}
          </Link>
        ))}
      </SimpleGrid>
    </Section>
  );
}

function LatestJobs({ jobs }: { jobs: JobShape[] }) {
  if (jobs.length === 0) return null;
  return (
    <Section title="Latest jobs">
      <Table>
        <Table.Tbody>
          {jobs.map((job) => (
            <Table.Tr key={job.id}>
              <Table.Td>
                <JobLink job={job} />
              </Table.Td>
              <Table.Td>{outcome(job)}</Table.Td>
              <Table.Td ta="right" c="dimmed" fz="sm" visibleFrom="sm">
                {ago(job.finished_at ?? job.created_at, Date.now() / 1000)}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Section>
  );
}

function LastModels() {
  const models = useQuery(modelsQuery);
  return (
    <Section title="Newest models">
      <Loaded
        query={models}
        lines={2}
        isEmpty={(all) => all.every((model) => model.facts.kind === "base")}
        empty={<Empty title="No model of your own yet.">A job that succeeds leaves one here.</Empty>}
      >
        {(all) => (
          <Table>
            <Table.Tbody>
              {all
                .filter((model) => model.facts.kind !== "base")
                .slice(0, 5)
                .map((model) => (
                  <Table.Tr key={model.id}>
                    <Table.Td style={{ overflowWrap: "anywhere" }}>
                      <Anchor
                        renderRoot={(props) => <Link to="/models/$modelId" params={{ modelId: model.id }} {...props} />}
                      >
                        {model.id}
                      </Anchor>
                    </Table.Td>
                    <Table.Td ta="right">
                      <Button
                        variant="default"
                        size="compact-sm"
                        aria-label={`Try ${model.id}`}
                        renderRoot={(props) => (
                          <Link to="/playground" search={{ models: [model.facts.base_model, model.id] }} {...props} />
                        )}
                      >
                        Try
                      </Button>
                    </Table.Td>
                  </Table.Tr>
                ))}
            </Table.Tbody>
          </Table>
        )}
      </Loaded>
    </Section>
  );
}

function JobLink({ job }: { job: JobShape }) {
  return (
    <Anchor renderRoot={(props) => <Link to="/jobs/$jobId" params={{ jobId: job.id }} {...props} />}>
      {nameOf(job)}
    </Anchor>
  );
}

function nameOf(job: JobShape): string {
  return job.user_provided_suffix ?? `${job.model} ${job.id.slice(-6)}`;
}
