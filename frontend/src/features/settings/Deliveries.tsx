import { Button, Table, Text } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { answer, api } from "@/api/client";
import type { DeliveryShape, EndpointShape } from "@/api/schema";
import { dateTime } from "@/ui/format";
import { Section } from "@/ui/Page";
import { Empty, Loaded } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import { WideTable } from "@/ui/WideTable";
import { eventInWords } from "./webhook-queries";

/** What was sent to a webhook lately, and how it went. */
export function Deliveries({ endpoint }: { endpoint: EndpointShape }) {
  const deliveries = useQuery({
    queryKey: ["webhooks", endpoint.id, "deliveries"],
    queryFn: () =>
      answer(
        api.GET("/v1/fettle/webhook_endpoints/{endpoint_id}/deliveries", {
          params: { path: { endpoint_id: endpoint.id }, query: { limit: 50 } },
        }),
      ),
  });
  return (
    <Section
      title={`Deliveries to ${endpoint.name}`}
      lead="The newest first; kept for 30 days. Tests are not among them."
    >
      <Loaded
        query={deliveries}
        isEmpty={(page) => page.data.length === 0}
        empty={<Empty title="Nothing was sent yet.">The first goes out when a job ends.</Empty>}
      >
        {(page) => (
          <WideTable minWidth={640}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th scope="col">Event</Table.Th>
                <Table.Th scope="col">About</Table.Th>
                <Table.Th scope="col">When</Table.Th>
                <Table.Th scope="col">How it went</Table.Th>
                <Table.Td />
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {page.data.map((one) => (
                <DeliveryRow key={one.id} endpointId={endpoint.id} delivery={one} />
              ))}
            </Table.Tbody>
          </WideTable>
        )}
      </Loaded>
    </Section>
  );
}

function DeliveryRow({ endpointId, delivery }: { endpointId: string; delivery: DeliveryShape }) {
  const client = useQueryClient();
  const resend = useMutation({
    mutationFn: () =>
      answer(
        api.POST("/v1/fettle/webhook_endpoints/{endpoint_id}/deliveries/{event_id}/resend", {
          params: { path: { endpoint_id: endpointId, event_id: delivery.id } },
        }),
      ),
    onSettled: () => client.invalidateQueries({ queryKey: ["webhooks", endpointId] }),
  });
  return (
    <Table.Tr>
      <Table.Td>{eventInWords(delivery.event_type)}</Table.Td>
      <Table.Td style={{ overflowWrap: "anywhere" }}>{delivery.data.id}</Table.Td>
      <Table.Td>{dateTime(delivery.created_at)}</Table.Td>
      <Table.Td>
        {outcome(delivery)}
        {delivery.last_error && (
          <Text size="xs" component="div">
            <Untrusted text={delivery.last_error} />
          </Text>
        )}
      </Table.Td>
      <Table.Td ta="right">
        <Button variant="default" size="compact-sm" loading={resend.isPending} onClick={() => resend.mutate()}>
          Send again
        </Button>
      </Table.Td>
    </Table.Tr>
  );
}

function outcome({ delivered_at, next_attempt_at, num_attempts }: DeliveryShape): string {
  if (delivered_at !== null) return `Arrived ${dateTime(delivered_at)}`;
  if (next_attempt_at === null) return `Given up after ${num_attempts} attempts`;
  if (num_attempts === 0) return "On its way";
  return `Failed ${num_attempts} times; next attempt ${dateTime(next_attempt_at)}`;
}
