import { Anchor, Code, Group, Stack, Table, Text } from "@mantine/core";
import { Link, type LinkProps } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { JobShape } from "@/api/schema";
import { number } from "@/ui/format";
import { Section } from "@/ui/Page";
import { WideTable } from "@/ui/WideTable";
import classes from "./job.module.css";
import { settingsOf } from "./settings";

/** What was asked for, what `auto` became, and everything else the plan decided. */
export function Configuration({ job }: { job: JobShape }) {
  const settings = settingsOf(job);
  const changed = settings.filter((one) => one.changed);
  const rest = Object.entries(job.fettle.plan ?? {}).filter(([name]) => !settings.some((one) => one.planName === name));
  const method = job.method as Record<string, { grader?: unknown; response_format?: unknown }>;
  const body = method[job.method.type as string];
  return (
    <Stack gap="xl">
      <Section
        title="Parameters"
        lead={
          changed.length
            ? `Set by hand: ${changed.map((one) => one.label.toLowerCase()).join(", ")}. Everything else was left on auto.`
            : "Everything was left on auto."
        }
      >
        {!job.fettle.plan && (
          <Text size="sm" c="dimmed">
            What auto becomes is decided when the job starts: it depends on the model and the rows.
          </Text>
        )}
        <WideTable minWidth={560}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th scope="col">Parameter</Table.Th>
              <Table.Th scope="col">Value</Table.Th>
              <Table.Th scope="col">From</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {settings.map((one) => (
              <Table.Tr key={one.name}>
                <Table.Th scope="row" fw={one.changed ? 700 : 400}>
                  {one.label} <Code>{one.name}</Code>
                </Table.Th>
                <Table.Td fw={one.changed ? 700 : 400}>{shown(one.value)}</Table.Td>
                <Table.Td>
                  <Text size="xs" c="dimmed">
                    {one.changed ? "set by hand" : `auto: ${one.auto}`}
                  </Text>
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </WideTable>
      </Section>
      {rest.length > 0 && (
        <Section title="What follows from them">
          <Group gap="lg" component="dl" m={0}>
            {rest.map(([name, value]) => (
              <div key={name}>
                <Text size="xs" c="dimmed" component="dt">
                  {name}
                </Text>
                <Text size="sm" component="dd" m={0}>
                  {shown(value)}
                </Text>
              </div>
            ))}
          </Group>
        </Section>
      )}
      <Section title="Data and grader">
        <Table>
          <Table.Tbody>
            <Fact name="Base model">{job.model}</Fact>
            <Fact name="Training rows">
              <FileLink id={job.training_file} />
            </Fact>
            <Fact name="Held-out rows">
              {job.validation_file ? (
                <FileLink id={job.validation_file} />
              ) : (
                `${number((job.fettle.validation_split ?? 0) * 100)} % of the training rows`
              )}
            </Fact>
            <Fact name="Seed">{String(job.seed)}</Fact>
            {job.fettle.grader_version && <Fact name="Stored grader">{job.fettle.grader_version}</Fact>}
            {job.fettle.preflight_id && <Fact name="Preflight">{job.fettle.preflight_id}</Fact>}
          </Table.Tbody>
        </Table>
        {body?.grader !== undefined && (
          <Code block className={classes.json} tabIndex={0} aria-label="Grader">
            {JSON.stringify(body.grader, null, 2)}
          </Code>
        )}
        <Anchor renderRoot={(props) => <Link to="/jobs/new" search={{ from: job.id }} {...(props as LinkProps)} />}>
          A new job with these
        </Anchor>
      </Section>
    </Stack>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <Table.Tr>
      <Table.Th scope="row" w={160} fw={400} c="dimmed">
        {name}
      </Table.Th>
      <Table.Td style={{ overflowWrap: "anywhere" }}>{children}</Table.Td>
    </Table.Tr>
  );
}

function FileLink({ id }: { id: string }) {
  return (
    <Anchor size="sm" renderRoot={(props) => <Link to="/datasets/$fileId" params={{ fileId: id }} {...props} />}>
      {id}
    </Anchor>
  );
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return "decided while training";
  if (typeof value === "number") return number(value, Math.abs(value) < 0.1 ? 5 : 3);
  return typeof value === "string" ? value : JSON.stringify(value);
}
