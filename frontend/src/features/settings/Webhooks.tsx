import { Badge, Button, Checkbox, Group, Stack, Table, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { answer, api } from "@/api/client";
import type { EndpointShape } from "@/api/schema";
import { Section } from "@/ui/Page";
import { Secret } from "@/ui/Secret";
import { Empty, Failure, Loaded } from "@/ui/states";
import { WideTable } from "@/ui/WideTable";
import { Deliveries } from "./Deliveries";
import { EndpointActions } from "./EndpointActions";
import { endpointsQuery, eventInWords } from "./webhook-queries";

/** Where this server tells other programs that a job has ended. */
export function Webhooks() {
  const endpoints = useQuery(endpointsQuery);
  const [open, setOpen] = useState<string | null>(null);
  const shown = endpoints.data?.data.find((one) => one.id === open);
  return (
    <Section
      title="Webhooks"
      lead="Addresses that get a signed request when a job ends. One that does not answer is tried again for three days."
    >
      <NewEndpoint />
      <Loaded query={endpoints} isEmpty={(page) => page.data.length === 0} empty={<Empty title="No webhook yet." />}>
        {(page) => (
          <WideTable minWidth={760}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th scope="col">Name</Table.Th>
                <Table.Th scope="col">Address</Table.Th>
                <Table.Th scope="col">Events</Table.Th>
                <Table.Th scope="col">State</Table.Th>
                <Table.Td />
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {page.data.map((one) => (
                <EndpointRow key={one.id} endpoint={one} open={one.id === open} onOpen={setOpen} />
              ))}
            </Table.Tbody>
          </WideTable>
        )}
      </Loaded>
      {shown && <Deliveries endpoint={shown} />}
    </Section>
  );
}

function NewEndpoint() {
  const [name, setName] = useState("");
  const [url, setUrl] = useState("");
  const [types, setTypes] = useState<string[]>([]);
  const client = useQueryClient();
  const known = useQuery({
    queryKey: ["webhook-event-types"],
    queryFn: () => answer(api.GET("/v1/webhook_event_types")),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const create = useMutation({
    mutationFn: () =>
      answer(api.POST("/v1/webhook_endpoints", { body: { name, url, event_types: types as EventType[] } })),
    onSuccess: () => {
      setName("");
      setUrl("");
      setTypes([]);
      client.invalidateQueries(endpointsQuery);
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    create.mutate();
  };
  return (
    <Stack gap="sm">
      <form onSubmit={submit}>
        <Stack gap="sm">
          <Group align="flex-end" gap="sm">
            <TextInput
              label="Name of a new webhook"
              required
              withAsterisk={false}
              maxLength={200}
              value={name}
              onChange={(event) => setName(event.currentTarget.value)}
            />
            <TextInput
              label="Address"
              type="url"
              placeholder="https://"
              required
              withAsterisk={false}
              w={{ base: "100%", sm: 340 }}
              value={url}
              onChange={(event) => setUrl(event.currentTarget.value)}
            />
          </Group>
          <Checkbox.Group label="Tell it when" value={types} onChange={setTypes}>
            <Group gap="md" mt={4}>
              {(known.data?.data ?? []).map((type) => (
                <Checkbox key={type} value={type} label={eventInWords(type)} />
              ))}
            </Group>
          </Checkbox.Group>
          <Button
            type="submit"
            loading={create.isPending}
            disabled={types.length === 0}
            style={{ alignSelf: "flex-start" }}
          >
            Add the webhook
          </Button>
        </Stack>
      </form>
      {create.isError && <Failure error={create.error} />}
      {create.data && (
        <Secret title={`The signing secret of “${create.data.name}”`} value={create.data.signing_secret}>
          Copy it now to where requests are checked: it cannot be shown again.
        </Secret>
      )}
    </Stack>
  );
}

type EventType = "fine_tuning.job.succeeded" | "fine_tuning.job.failed" | "fine_tuning.job.cancelled";

interface EndpointRowProps {
  endpoint: EndpointShape;
  open: boolean;
  onOpen: (id: string | null) => void;
}

function EndpointRow({ endpoint, open, onOpen }: EndpointRowProps) {
  const disabled = endpoint.fettle.disabled_at !== null;
  return (
    <Table.Tr c={disabled ? "dimmed" : undefined}>
      <Table.Th scope="row">{endpoint.name}</Table.Th>
      <Table.Td style={{ overflowWrap: "anywhere" }}>{endpoint.url}</Table.Td>
      <Table.Td>
        {endpoint.event_types.map((type) => (
          <Text key={type} size="xs">
            {eventInWords(type)}
          </Text>
        ))}
      </Table.Td>
      <Table.Td>
        <Badge color={disabled ? "gray" : "green"}>{disabled ? "disabled" : "on"}</Badge>
      </Table.Td>
      <Table.Td>
        <Group gap={6} justify="flex-end" wrap="nowrap">
          <Button
            variant="default"
            size="compact-sm"
            aria-expanded={open}
            aria-label={`Deliveries of ${endpoint.name}`}
            onClick={() => onOpen(open ? null : endpoint.id)}
          >
            Deliveries
          </Button>
          <EndpointActions endpoint={endpoint} disabled={disabled} />
        </Group>
      </Table.Td>
    </Table.Tr>
  );
}
