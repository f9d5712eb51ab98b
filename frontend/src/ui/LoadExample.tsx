import { Alert, Anchor, Button, Stack, Text } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

/** One click to rows and a grader, where there are none yet. */
export function LoadExample() {
  const client = useQueryClient();
  const load = useMutation({
    mutationFn: async () => (await import("@/api/example")).loadExample(),
    onSettled: () => Promise.all(["files", "graders"].map((name) => client.invalidateQueries({ queryKey: [name] }))),
  });
  return (
    <Stack gap={4} align="flex-start">
      <Button variant="default" loading={load.isPending} disabled={load.isSuccess} onClick={() => load.mutate()}>
        {load.isSuccess ? "The example is here" : "Load the example"}
      </Button>
      {!load.isSuccess && (
        <Text size="xs" c="dimmed">
          96 small questions to learn from, 100 to measure on, and their grader.
        </Text>
      )}
      {load.isError && (
        <Alert color="red" role="alert">
          {load.error.message}
        </Alert>
      )}
      {load.data && (
        <Text size="sm" role="status">
          Next:{" "}
          <Anchor
            underline="always"
            renderRoot={(props) => <Link to="/jobs/new" search={{ model: "fettle-tiny", ...load.data }} {...props} />}
          >
            a job with it
          </Anchor>
        </Text>
      )}
    </Stack>
  );
}
