import { Button, Text } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { answer, api } from "@/api/client";
import type { EndpointShape } from "@/api/schema";
import { Confirm } from "@/ui/Confirm";
import { endpointsQuery } from "./webhook-queries";

interface EndpointActionsProps {
  endpoint: EndpointShape;
  disabled: boolean;
}

/** Test it, switch it off and on, delete it. */
export function EndpointActions({ endpoint, disabled }: EndpointActionsProps) {
  const client = useQueryClient();
  const refresh = () => client.invalidateQueries(endpointsQuery);
  const params = { path: { endpoint_id: endpoint.id } };
  const test = useMutation({
    mutationFn: () =>
      answer(
        api.POST("/v1/webhook_endpoints/{endpoint_id}/test", {
          params,
          body: { event_type: endpoint.event_types[0] as "fine_tuning.job.succeeded" },
        }),
      ),
  });
  const toggle = useMutation({
    mutationFn: () =>
      answer(api.POST("/v1/webhook_endpoints/{endpoint_id}", { params, body: { disabled: !disabled } })),
    onSuccess: refresh,
  });
  const told = test.error ?? toggle.error;
  return (
    <>
      <Button
        variant="default"
        size="compact-sm"
        loading={test.isPending}
        onClick={() => test.mutate()}
        aria-label={`Test ${endpoint.name}`}
      >
        Test
      </Button>
      <Button
        variant="default"
        size="compact-sm"
        loading={toggle.isPending}
        onClick={() => toggle.mutate()}
        aria-label={`${disabled ? "Enable" : "Disable"} ${endpoint.name}`}
      >
        {disabled ? "Enable" : "Disable"}
      </Button>
      <Confirm
        verb="Delete"
        title={`Delete the webhook “${endpoint.name}”?`}
        action={() => answer(api.DELETE("/v1/webhook_endpoints/{endpoint_id}", { params }))}
        onDone={refresh}
        button={(open) => (
          <Button variant="default" size="compact-sm" onClick={open} aria-label={`Delete ${endpoint.name}`}>
            Delete
          </Button>
        )}
      >
        Nothing is sent there any more; what waits to be sent is dropped, and its signing secret is void.
      </Confirm>
      {(test.data || told) && (
        <Text size="xs" role="status" c={told ? "red" : undefined} maw={260}>
          {told ? told.message : `It answered ${test.data?.status_code}.`}
        </Text>
      )}
    </>
  );
}
