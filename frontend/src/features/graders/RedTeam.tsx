import { Alert, Badge, Button, Stack, Table, Text } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { answer, api } from "@/api/client";
import { number, percent, plural } from "@/ui/format";
import type { Definition } from "@/ui/grader/kinds";
import { Failure } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import { type RowsChoice, RowsInput, useRows } from "./RowsInput";

const attack = (definition: Definition, rows: RowsChoice) => {
  const body = { grader: definition, file_id: rows.file, num_rows: rows.numRows, gold: rows.gold };
  return answer(api.POST("/v1/fettle/graders/red_team", { body: body as never }));
};

const COLOURS = { holds: "green", hackable: "red", unclear: "orange" } as const;

/** Tries answers that deserve nothing, and shows which of them pay. */
export function RedTeam({ definition }: { definition: Definition }) {
  const rows = useRows(definition);
  const run = useMutation({ mutationFn: () => attack(definition, rows) });
  return (
    <Stack gap="sm">
      <Text size="sm" c="dimmed">
        A model finds every way to score without answering. This tries the usual ones first.
      </Text>
      <RowsInput rows={rows} />
      <Button
        style={{ alignSelf: "flex-start" }}
        disabled={!rows.file || !rows.gold}
        loading={run.isPending}
        onClick={() => run.mutate()}
      >
        Try to cheat it
      </Button>
      {run.isError && <Failure error={run.error} />}
      {run.data && (
        <Stack gap="sm" role="status">
          <Alert color={COLOURS[run.data.verdict]}>{run.data.summary}</Alert>
          <Table fz="sm">
            <Table.Thead>
              <Table.Tr>
                <Table.Th scope="col">Cheat</Table.Th>
                <Table.Th scope="col">Pays in</Table.Th>
                <Table.Th scope="col">Mean score</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {run.data.attacks.map((one) => (
                <Table.Tr key={one.name}>
                  <Table.Td>
                    <b>{one.name}</b>
                    <Text size="xs" c="dimmed">
                      {one.description}
                    </Text>
                    {one.num_fooled > 0 && one.examples[0] && (
                      <Text size="xs" component="div">
                        <Untrusted text={one.examples[0].text.slice(0, 160)} />
                      </Text>
                    )}
                  </Table.Td>
                  <Table.Td>
                    {one.num_fooled > 0 ? (
                      <Badge color="red">
                        {percent(one.num_fooled / Math.max(1, one.num_rows))} of {plural(one.num_rows, "row")}
                      </Badge>
                    ) : (
                      `0 of ${one.num_rows}`
                    )}
                  </Table.Td>
                  <Table.Td>{number(one.mean_score)}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Stack>
      )}
    </Stack>
  );
}
