import { Alert, Button, List, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import type { JobShape, MetricsShape } from "@/api/schema";
import { Untrusted } from "@/ui/Untrusted";
import { failureOf } from "./failure";

/** Cause, stage and the way on. */
export function Failed({ job, metrics }: { job: JobShape; metrics: MetricsShape | undefined }) {
  const failure = failureOf(job);
  const evaluated = metrics?.evaluations.filter((one) => one.step > 0).at(-1);
  return (
    <Alert color="red" title={failure.title} role="alert">
      <Text size="sm" component="div">
        <Untrusted text={job.error?.message ?? "The server gave no reason."} />
      </Text>
      <List size="sm" mt="xs">
        <List.Item>
          It failed <b>{failure.stage}</b>. {job.error?.param && <>The field is {job.error.param}.</>}
        </List.Item>
        <List.Item>
          {evaluated
            ? `The last evaluated checkpoint is step ${evaluated.step}; those kept can be used, and a new job can begin from one.`
            : "No checkpoint beyond the start was made."}
        </List.Item>
        <List.Item>{failure.next}</List.Item>
      </List>
      <Button
        mt="sm"
        size="xs"
        variant="default"
        renderRoot={(props) => <Link to="/jobs/new" search={{ from: job.id }} {...props} />}
      >
        Duplicate and change it
      </Button>
    </Alert>
  );
}
