import { Table, Text } from "@mantine/core";
import { number } from "@/ui/format";

export interface Bounded {
  value: number;
  low: number | null;
  high: number | null;
}

interface EstimatesProps {
  label: string;
  rows: readonly { name: string; about: string; estimate: Bounded | null | undefined }[];
}

/** Values with their 95 % intervals; what cannot be said is said to be open. */
export function Estimates({ label, rows }: EstimatesProps) {
  return (
    <Table fz="sm" aria-label={label}>
      <Table.Thead>
        <Table.Tr>
          <Table.Th scope="col">Measure</Table.Th>
          <Table.Th scope="col">Value</Table.Th>
          <Table.Th scope="col">95 % interval</Table.Th>
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {rows.map(({ name, about, estimate }) => (
          <Table.Tr key={name}>
            <Table.Th scope="row" fw={400}>
              {name}
              <Text size="xs" c="dimmed">
                {about}
              </Text>
            </Table.Th>
            <Table.Td>{estimate ? number(estimate.value) : "–"}</Table.Td>
            <Table.Td>
              {estimate && estimate.low !== null && estimate.high !== null
                ? `${number(estimate.low)} to ${number(estimate.high)}`
                : "–"}
            </Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}
