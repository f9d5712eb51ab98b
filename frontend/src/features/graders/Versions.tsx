import { Button, Code, Group, Select, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "@/api/client";
import { dateTime } from "@/ui/format";
import type { Definition } from "@/ui/grader/kinds";
import { Failure, Loaded } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import { versionsQuery } from "./queries";

/** Versions never change; any of them can be taken up again. */
export function Versions({ graderId, onTake }: { graderId: string; onTake: (definition: Definition) => void }) {
  const versions = useQuery(versionsQuery(graderId));
  return (
    <Loaded query={versions}>
      {(page) => (
        <Stack gap="lg">
          <Table fz="sm">
            <Table.Thead>
              <Table.Tr>
                <Table.Th scope="col">Version</Table.Th>
                <Table.Th scope="col">Note</Table.Th>
                <Table.Th scope="col">Made</Table.Th>
                <Table.Td />
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {page.data.map((version) => (
                <Table.Tr key={version.id}>
                  <Table.Td>{version.number}</Table.Td>
                  <Table.Td>
                    <Untrusted text={version.note} />
                  </Table.Td>
                  <Table.Td>{dateTime(version.created_at)}</Table.Td>
                  <Table.Td ta="right">
                    <Button
                      variant="default"
                      size="compact-sm"
                      aria-label={`Take version ${version.number}`}
                      onClick={() => onTake(version.grader)}
                    >
                      Take
                    </Button>
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
          {page.data.length > 1 && <Diff graderId={graderId} newest={page.data[0]!.number} />}
        </Stack>
      )}
    </Loaded>
  );
}

function Diff({ graderId, newest }: { graderId: string; newest: number }) {
  const [from, setFrom] = useState(newest - 1);
  const [to, setTo] = useState(newest);
  const diff = useQuery({
    queryKey: ["graders", graderId, "diff", from, to],
    queryFn: () =>
      answer(
        api.GET("/v1/fettle/graders/{grader_id}/diff", {
          params: { path: { grader_id: graderId }, query: { from: String(from), to: String(to) } },
        }),
      ),
  });
  const numbers = Array.from({ length: newest }, (_, index) => String(index + 1));
  return (
    <Stack gap="sm">
      <Group align="flex-end">
        <Select
          label="From version"
          w={120}
          allowDeselect={false}
          data={numbers}
          value={String(from)}
          onChange={(value) => setFrom(Number(value))}
        />
        <Select
          label="to version"
          w={120}
          allowDeselect={false}
          data={numbers}
          value={String(to)}
          onChange={(value) => setTo(Number(value))}
        />
      </Group>
      {diff.isError && <Failure error={diff.error} />}
      {diff.data?.changes.length === 0 && <Text size="sm">These are the same.</Text>}
      {diff.data?.changes.map((change) => (
        <div key={change.path}>
          <Code>{change.path}</Code>
          <Text size="sm" component="div" c="var(--mantine-color-error)" td="line-through">
            <Untrusted text={shown(change.from)} />
          </Text>
          <Text size="sm" component="div" c="var(--series-3)">
            <Untrusted text={shown(change.to)} />
          </Text>
        </div>
      ))}
    </Stack>
  );
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
