import { Badge, Button, Group, Select, Stack, Table, Text, TextInput } from "@mantine/core";
import { queryOptions, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { answer, api } from "@/api/client";
import type { ApiKeyShape } from "@/api/schema";
import { Confirm } from "@/ui/Confirm";
import { ago, dateTime } from "@/ui/format";
import { Section } from "@/ui/Page";
import { Secret } from "@/ui/Secret";
import { Empty, Failure, Loaded } from "@/ui/states";

const keysQuery = queryOptions({
  queryKey: ["api-keys"],
  queryFn: () => answer(api.GET("/v1/fettle/api_keys", { params: { query: { limit: 100 } } })),
});

export function ApiKeys() {
  const keys = useQuery(keysQuery);
  return (
    <Section title="API keys" lead="For programs: the SDK, the command line, and any client of the OpenAI wire format.">
      <NewKey />
      <Loaded
        query={keys}
        isEmpty={(page) => page.data.length === 0}
        empty={<Empty title="This project has no key yet." />}
      >
        {(page) => (
          <Table.ScrollContainer minWidth={560}>
            <Table>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th scope="col">Name</Table.Th>
                  <Table.Th scope="col">Key</Table.Th>
                  <Table.Th scope="col">Made</Table.Th>
                  <Table.Th scope="col">Last used</Table.Th>
                  <Table.Th scope="col">Until</Table.Th>
                  <Table.Td />
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {page.data.map((key) => (
                  <KeyRow key={key.id} row={key} />
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        )}
      </Loaded>
    </Section>
  );
}

const LIFETIMES = [
  { value: "", label: "no end" },
  { value: "30", label: "30 days" },
  { value: "90", label: "90 days" },
  { value: "365", label: "a year" },
];

function NewKey() {
  const [name, setName] = useState("");
  const [days, setDays] = useState("");
  const client = useQueryClient();
  const create = useMutation({
    mutationFn: () =>
      answer(api.POST("/v1/fettle/api_keys", { body: { name, expires_in_days: days ? Number(days) : null } })),
    onSuccess: () => {
      setName("");
      client.invalidateQueries(keysQuery);
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    create.mutate();
  };
  return (
    <Stack gap="sm">
      <form onSubmit={submit}>
        <Group align="flex-end" gap="sm">
          <TextInput
            label="Name of a new key"
            placeholder="what it is for"
            required
            withAsterisk={false}
            maxLength={200}
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
          <Select
            label="Valid for"
            data={LIFETIMES}
            value={days}
            w={130}
            allowDeselect={false}
            onChange={(value) => setDays(value ?? "")}
          />
          <Button type="submit" loading={create.isPending}>
            Make a key
          </Button>
        </Group>
      </form>
      {create.isError && <Failure error={create.error} />}
      {create.data?.value && (
        <Secret title={`The key “${create.data.name}”`} value={create.data.value}>
          Copy it now: it is not kept and cannot be shown again.
        </Secret>
      )}
    </Stack>
  );
}

function KeyRow({ row }: { row: ApiKeyShape }) {
  const client = useQueryClient();
  const now = Date.now() / 1000;
  const isOver = row.expires_at !== null && row.expires_at <= now;
  return (
    <Table.Tr c={row.revoked_at || isOver ? "dimmed" : undefined}>
      <Table.Td>{row.name}</Table.Td>
      <Table.Td ff="monospace">{row.redacted_value}</Table.Td>
      <Table.Td>{dateTime(row.created_at)}</Table.Td>
      <Table.Td>{row.last_used_at ? ago(row.last_used_at, now) : "never"}</Table.Td>
      <Table.Td>{row.expires_at ? dateTime(row.expires_at) : <Text span>no end</Text>}</Table.Td>
      <Table.Td ta="right">
        {row.revoked_at ? (
          <Badge color="gray">revoked</Badge>
        ) : isOver ? (
          <Badge color="gray">over</Badge>
        ) : (
          <Confirm
            verb="Revoke"
            title={`Revoke the key “${row.name}”?`}
            action={() => answer(api.DELETE("/v1/fettle/api_keys/{key_id}", { params: { path: { key_id: row.id } } }))}
            onDone={() => client.invalidateQueries(keysQuery)}
            button={(open) => (
              <Button variant="default" size="compact-sm" onClick={open} aria-label={`Revoke ${row.name}`}>
                Revoke
              </Button>
            )}
          >
            Programs that use it are refused from their next request on. What they made stays.
          </Confirm>
        )}
      </Table.Td>
    </Table.Tr>
  );
}
