import { Anchor, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { answer, api } from "@/api/client";
import type { UsageShape } from "@/api/schema";
import { statusName } from "@/api/status";
import { bytes, count, dateTime, duration, plural } from "@/ui/format";
import { Page, Section } from "@/ui/Page";
import { Empty, Loaded } from "@/ui/states";
import { WideTable } from "@/ui/WideTable";

type JobUsage = UsageShape["jobs"][number];

/** What the project's jobs took, and what they keep in the store. */
export function UsagePage() {
  const usage = useQuery({ queryKey: ["usage"], queryFn: () => answer(api.GET("/v1/fettle/usage")) });
  return (
    <Page title="Usage" lead={usage.data && inWords(usage.data)}>
      <Loaded
        query={usage}
        lines={8}
        isEmpty={(found) => found.num_jobs === 0}
        empty={<Empty title="No job has used anything yet." />}
      >
        {(found) => (
          <Section
            title="By job"
            lead={
              found.num_jobs > found.jobs.length
                ? `The newest ${found.jobs.length} of ${found.num_jobs}; the sums above are of all.`
                : undefined
            }
          >
            <Jobs jobs={found.jobs} />
          </Section>
        )}
      </Loaded>
    </Page>
  );
}

function inWords({ num_jobs, total, files }: UsageShape): string {
  const stored = bytes(total.rollouts_bytes + total.checkpoints_bytes + files.size_bytes);
  return (
    `${plural(num_jobs, "job")} trained for ${duration(total.working_s)} on ${count(total.trained_tokens)} tokens. ` +
    `They keep ${bytes(total.checkpoints_bytes)} of checkpoints and ${bytes(total.rollouts_bytes)} of rollouts; ` +
    `with ${plural(files.count, "file")} that is ${stored}.`
  );
}

const HEADERS = ["Time in steps", "Trained tokens", "Judges' tokens", "Answers kept", "Rollouts", "Checkpoints"];

function Jobs({ jobs }: { jobs: readonly JobUsage[] }) {
  return (
    <WideTable minWidth={860}>
      <Table.Thead>
        <Table.Tr>
          <Table.Th scope="col">Job</Table.Th>
          {HEADERS.map((header) => (
            <Table.Th key={header} scope="col" ta="right">
              {header}
            </Table.Th>
          ))}
          <Table.Th scope="col">Made</Table.Th>
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {jobs.map((job) => (
          <Table.Tr key={job.id}>
            <Table.Th scope="row">
              <Anchor renderRoot={(props) => <Link to="/jobs/$jobId" params={{ jobId: job.id }} {...props} />}>
                {job.name ?? `job …${job.id.slice(-8)}`}
              </Anchor>
              <Text span size="sm" c="dimmed" fw={400}>
                {", "}
                {statusName(job.status)}
              </Text>
            </Table.Th>
            {cells(job).map((cell, index) => (
              <Table.Td key={HEADERS[index]} ta="right">
                {cell}
              </Table.Td>
            ))}
            <Table.Td>{dateTime(job.created_at)}</Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </WideTable>
  );
}

function cells(job: JobUsage): string[] {
  return [
    job.working_s ? duration(job.working_s) : "–",
    count(job.trained_tokens),
    count(job.judge_tokens),
    count(job.num_rollouts),
    bytes(job.rollouts_bytes),
    bytes(job.checkpoints_bytes),
  ];
}
