import { Anchor, Button, Code, Group, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Fragment, useState } from "react";
import { besideItsStart, checkpointsQuery, isOver, selectionQuery } from "@/api/jobs";
import { usePolling } from "@/api/polling";
import type { JobShape, MetricsShape, SelectionShape } from "@/api/schema";
import { number, percent, signed } from "@/ui/format";
import { Section } from "@/ui/Page";
import { Empty, Loaded } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import { WideTable } from "@/ui/WideTable";
import classes from "./job.module.css";
import { bestOf, type Candidate, candidatesOf, rangeOf, whySentence } from "./why";

export function Checkpoints({ job, metrics }: { job: JobShape; metrics: MetricsShape | undefined }) {
  return (
    <Stack gap="xl">
      {job.status === "succeeded" ? <Why job={job} /> : <SoFar job={job} metrics={metrics} />}
      <Kept job={job} />
    </Stack>
  );
}

function Why({ job }: { job: JobShape }) {
  const selection = useQuery(selectionQuery(job.id));
  return (
    <Loaded query={selection} lines={8}>
      {(found) => (
        <>
          <Section title={`Why step ${found.chosen_step}`} lead={whySentence(found)}>
            <Forest selection={found} />
            <Text size="sm">
              <b>The rule.</b> {found.rule}
            </Text>
            <Text size="sm">
              <b>The gain.</b> {number(found.base_mean)} to {number(found.chosen_mean)}, {signed(found.gain)} (
              {percent(found.confidence)} interval {signed(found.gain_low)} to {signed(found.gain_high)}), measured on{" "}
              {found.measured_on}.
            </Text>
            <Json value={found} name={`${job.id}-selection.json`} />
          </Section>
          <Examples selection={found} />
        </>
      )}
    </Loaded>
  );
}

/** Each candidate with one standard error of its difference to the best: whoever reaches the line ties with it. */
function Forest({ selection }: { selection: SelectionShape }) {
  const candidates = candidatesOf(selection);
  const best = bestOf(candidates);
  if (!best) return null;
  const [low, high] = rangeOf(candidates);
  const x = (value: number) => `${(((value - low) / (high - low)) * 100).toFixed(2)}%`;
  return (
    <div className={classes.forest}>
      <Text size="xs" c="dimmed">
        Step
      </Text>
      <Text size="xs" c="dimmed">
        Finalists, measured anew, ± one standard error of the difference to the best; the line is the best
      </Text>
      <Text size="xs" c="dimmed">
        Score
      </Text>
      <Text size="xs" c="dimmed">
        KL
      </Text>
      {candidates.map((one) => {
        const chosen = one.step === selection.chosen_step;
        return (
          <Fragment key={one.step}>
            <span data-chosen={chosen || undefined}>
              {one.step === 0 ? "0, start" : one.step}
              {chosen && " ✓"}
            </span>
            <svg role="img" aria-label={spoken(one, best, chosen)}>
              <line
                x1={x(best.mean)}
                x2={x(best.mean)}
                y1="0"
                y2="100%"
                stroke="var(--line-strong)"
                strokeDasharray="3 3"
              />
              <line
                x1={x(one.mean - one.standard_error_vs_best)}
                x2={x(one.mean + one.standard_error_vs_best)}
                y1="50%"
                y2="50%"
                stroke={one.eligible ? "var(--series-1)" : "var(--series-5)"}
                strokeWidth="2"
              />
              <circle
                cx={x(one.mean)}
                cy="50%"
                r={one.finalist ? 5 : 3.5}
                fill={chosen ? "var(--series-1)" : "var(--mantine-color-body)"}
                stroke={one.eligible ? "var(--series-1)" : "var(--series-5)"}
                strokeWidth="2"
              />
            </svg>
            <span data-chosen={chosen || undefined}>{number(one.mean)}</span>
            <span data-chosen={chosen || undefined}>{number(one.kl_nats)}</span>
            <Text size="xs" c="dimmed" className={classes.reason}>
              {one.reason}
            </Text>
          </Fragment>
        );
      })}
    </div>
  );
}

function spoken(one: Candidate, best: Candidate, chosen: boolean): string {
  const against = one.step === best.step ? "the best" : `${number(best.mean - one.mean)} below the best`;
  return `Step ${one.step}: ${number(one.mean)} plus or minus ${number(one.standard_error_vs_best)}, ${against}${chosen ? ", chosen" : ""}`;
}

function Json({ value, name }: { value: unknown; name: string }) {
  const [shown, setShown] = useState(false);
  const text = JSON.stringify(value, null, 2);
  return (
    <Stack gap="xs" align="flex-start">
      <Group gap="md">
        <Anchor component="button" type="button" size="sm" aria-expanded={shown} onClick={() => setShown(!shown)}>
          {shown ? "Hide the JSON" : "The decision as JSON"}
        </Anchor>
        <Anchor size="sm" href={`data:application/json,${encodeURIComponent(text)}`} download={name}>
          Download
        </Anchor>
      </Group>
      {shown && (
        <Code block className={classes.json} w="100%" tabIndex={0}>
          {text}
        </Code>
      )}
    </Stack>
  );
}

interface Example {
  row: number;
  prompt: string;
  before: string;
  before_reward: number | null;
  after: string;
  after_reward: number | null;
}

function Examples({ selection }: { selection: SelectionShape }) {
  const examples = selection.examples as unknown as Example[];
  if (examples.length === 0) return null;
  return (
    <Section title="The same prompts, before and after" lead="Held-out rows, answered with the same seed.">
      <Stack gap="md">
        {examples.map((one) => (
          <Stack key={one.row} gap={4}>
            <Text size="sm" fw={600} component="div">
              <Untrusted text={one.prompt} />
            </Text>
            <Answer name="before" text={one.before} reward={one.before_reward} />
            <Answer name="after" text={one.after} reward={one.after_reward} />
          </Stack>
        ))}
      </Stack>
    </Section>
  );
}

function Answer({ name, text, reward }: { name: string; text: string; reward: number | null }) {
  return (
    <Text size="sm" component="div">
      <Text span size="sm" c="dimmed">
        {name}, reward {number(reward)}:{" "}
      </Text>
      <Untrusted text={text} />
    </Text>
  );
}

function SoFar({ job, metrics }: { job: JobShape; metrics: MetricsShape | undefined }) {
  const evaluations = metrics?.evaluations ?? [];
  return (
    <Section
      title="Candidates so far"
      lead={
        isOver(job.status)
          ? "The job ended before one was chosen."
          : "One is chosen at the end: the one with the highest score when the best are measured again."
      }
    >
      {evaluations.length === 0 ? (
        <Empty title="Nothing was evaluated yet." />
      ) : (
        <WideTable minWidth={420}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th scope="col">Step</Table.Th>
              <Table.Th scope="col">Held-out score, 95 %</Table.Th>
              <Table.Th scope="col">KL, nats per token</Table.Th>
              <Table.Th scope="col">Answers cut off</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {evaluations.map((one) => (
              <Table.Tr key={one.step}>
                <Table.Th scope="row">{one.step === 0 ? "0, start" : one.step}</Table.Th>
                <Table.Td>
                  {number(one.mean)} ± {number(1.96 * (one.standard_error ?? 0))}
                </Table.Td>
                <Table.Td>{number(one.kl_nats)}</Table.Td>
                <Table.Td>{one.truncated_share === null ? "–" : percent(one.truncated_share)}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </WideTable>
      )}
    </Section>
  );
}

function Kept({ job }: { job: JobShape }) {
  const poll = usePolling();
  const over = isOver(job.status);
  const kept = useQuery({
    ...checkpointsQuery(job.id, over),
    refetchInterval: () => poll(over),
    refetchIntervalInBackground: true,
  });
  return (
    <Section
      title="Kept checkpoints"
      lead="The three with the highest score, and the chosen one. Each can be used as a model."
    >
      <Loaded
        query={kept}
        isEmpty={(page) => page.data.length === 0}
        empty={<Empty title="None yet.">The first comes with the first evaluation.</Empty>}
      >
        {(page) => (
          <WideTable minWidth={520}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th scope="col">Step</Table.Th>
                <Table.Th scope="col">Score</Table.Th>
                <Table.Th scope="col">Model</Table.Th>
                <Table.Th scope="col">Try it</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {page.data.map((one) => (
                <Table.Tr key={one.id}>
                  <Table.Th scope="row">
                    {one.step_number}
                    {one.fettle.chosen && " ✓ delivered"}
                  </Table.Th>
                  <Table.Td>{number((one.metrics as Record<string, number>).valid_reward_mean)}</Table.Td>
                  <Table.Td>
                    <Code style={{ overflowWrap: "anywhere" }}>{one.fine_tuned_model_checkpoint}</Code>
                  </Table.Td>
                  <Table.Td>
                    <Button
                      size="compact-sm"
                      variant="default"
                      renderRoot={(props) => (
                        <Link
                          to="/playground"
                          search={besideItsStart(job, one.fine_tuned_model_checkpoint)}
                          {...props}
                        />
                      )}
                    >
                      Playground
                    </Button>
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </WideTable>
        )}
      </Loaded>
    </Section>
  );
}
