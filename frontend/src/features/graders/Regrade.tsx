import { Alert, Button, Group, NumberInput, Select, Stack, Table, Text } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "@/api/client";
import { count, number, plural, signed } from "@/ui/format";
import type { Definition } from "@/ui/grader/kinds";
import { Failure } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import { Estimates } from "./Estimates";
import { gradedJobsQuery } from "./queries";

const regrade = (grader: Definition, job: string, numGroups: number) =>
  answer(
    api.POST("/v1/fettle/graders/regrade", {
      body: { grader, job_id: job, purpose: "train", num_groups: numGroups, seed: 0 } as never,
    }),
  );
type Report = Awaited<ReturnType<typeof regrade>>;

/** What training would have done with this definition: a job's stored answers, graded again. */
export function Regrade({ definition }: { definition: Definition }) {
  const [job, setJob] = useState<string | null>(null);
  const [numGroups, setNumGroups] = useState(50);
  const jobs = useQuery(gradedJobsQuery);
  const run = useMutation({ mutationFn: () => regrade(definition, job!, numGroups) });
  return (
    <Stack gap="sm">
      <Text size="sm" c="dimmed">
        Answers that a job has stored, graded with this definition instead: which of them it would have pushed the other
        way. No model is asked.
      </Text>
      <Group align="flex-end" gap="sm">
        <Select
          label="Job"
          placeholder={jobs.data?.length === 0 ? "No job has stored answers yet" : "Choose a job"}
          searchable
          flex="1 1 220px"
          data={(jobs.data ?? []).map((one) => ({
            value: one.id,
            label: `${one.user_provided_suffix ?? one.model} · ${one.status} · ${one.id.slice(-6)}`,
          }))}
          value={job}
          onChange={setJob}
        />
        <NumberInput
          label="Groups"
          w={100}
          min={1}
          max={500}
          value={numGroups}
          onChange={(next) => setNumGroups(Number(next) || 50)}
        />
      </Group>
      {jobs.isError && <Failure error={jobs.error} onRetry={() => jobs.refetch()} />}
      <Button style={{ alignSelf: "flex-start" }} disabled={!job} loading={run.isPending} onClick={() => run.mutate()}>
        Grade them again
      </Button>
      {run.isError && <Failure error={run.error} />}
      {run.data && <ReportView report={run.data} />}
    </Stack>
  );
}

function ReportView({ report }: { report: Report }) {
  return (
    <Stack gap="sm" role="status">
      <Alert color={report.num_flips > 0 ? "orange" : "green"}>{report.summary}</Alert>
      <Estimates
        label={`${plural(report.num_compared, "answer")} of ${plural(report.num_groups, "group")}`}
        rows={[
          { name: "Rank correlation", about: "Spearman, of old and new rewards", estimate: report.spearman },
          {
            name: "Changed winners",
            about: "share of groups whose best answer is another",
            estimate: report.changed_winners,
          },
          { name: "Sign flips", about: "share of answers pushed the other way", estimate: report.flipped },
          { name: "Mean reward, old", about: "as the job stored it", estimate: report.old_mean },
          { name: "Mean reward, new", about: "with this definition", estimate: report.new_mean },
        ]}
      />
      <Text size="sm">
        {count(report.silenced)} groups teach nothing any more; {count(report.awakened)} that taught nothing would
        teach.
      </Text>
      {report.flips.length > 0 && (
        <Table fz="sm" layout="fixed" captionSide="top">
          <Table.Caption ta="left">Pushed the other way, the largest swings first</Table.Caption>
          <Table.Thead>
            <Table.Tr>
              <Table.Th scope="col" w={56}>
                Row
              </Table.Th>
              <Table.Th scope="col" w={110}>
                Reward
              </Table.Th>
              <Table.Th scope="col" w={120}>
                Advantage
              </Table.Th>
              <Table.Th scope="col">Answer</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {report.flips.slice(0, 20).map((flip) => (
              <Table.Tr key={`${flip.row} ${flip.step} ${flip.text}`}>
                <Table.Td>{flip.row}</Table.Td>
                <Table.Td>
                  {number(flip.old_reward)} → {number(flip.new_reward)}
                </Table.Td>
                <Table.Td>
                  {signed(flip.old_advantage)} → {signed(flip.new_advantage)}
                </Table.Td>
                <Table.Td>
                  <Untrusted text={flip.text.slice(0, 200)} />
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Stack>
  );
}
