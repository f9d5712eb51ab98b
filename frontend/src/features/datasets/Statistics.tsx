import { SimpleGrid, Stack, Table, Text } from "@mantine/core";
import type { FileValidation } from "@/api/schema";
import { Bars } from "@/ui/Bars";
import { bytes, count, plural } from "@/ui/format";
import { Section } from "@/ui/Page";
import { Untrusted } from "@/ui/Untrusted";

/** As the server counts them; see `datasets/statistics.py`. */
interface Counted {
  columns: Record<string, Record<string, number>>;
  values?: Record<string, { num_distinct: number; most_common: [string, number][] }>;
  prompt_chars?: [number, number][];
  num_prompt_chars: number;
  max_prompt_chars: number;
  num_repeated_prompts: number;
  size_bytes: number;
}

export function Statistics({ report, onValue }: { report: FileValidation; onValue: (value: string) => void }) {
  const counted = report.statistics as unknown as Counted;
  const lengths = counted.prompt_chars ?? [];
  const values = Object.entries(counted.values ?? {}).filter(([, seen]) => seen.num_distinct > 0);
  return (
    <Stack gap="xl">
      <Text size="sm">
        {plural(report.num_rows, "row")}, {bytes(counted.size_bytes)}; prompts have{" "}
        {count(Math.round(counted.num_prompt_chars / Math.max(1, report.num_rows)))} characters on average, at most{" "}
        {count(counted.max_prompt_chars)}; {plural(counted.num_repeated_prompts, "repeated prompt")}.
      </Text>
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="xl" verticalSpacing="xl">
        <Section title="Length of the prompts" lead="In characters">
          <Bars
            label="Rows by length of the prompt"
            bars={lengths.map(([low, rows]) => ({ key: String(low), label: lengthRange(low), value: rows }))}
          />
        </Section>
        <Section title="Fields" lead="In how many rows, and of which type">
          <Table fz="sm">
            <Table.Tbody>
              {Object.entries(counted.columns).map(([name, types]) => (
                <Table.Tr key={name}>
                  <Table.Th scope="row">
                    <Untrusted text={name} />
                  </Table.Th>
                  <Table.Td>
                    {Object.entries(types)
                      .map(([type, rows]) => `${type} ${count(rows)}×`)
                      .join(", ")}
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Section>
        {values.map(([name, seen]) => (
          <Section
            key={name}
            title={name}
            lead={
              seen.num_distinct === 1 && report.num_rows > 1
                ? "The same in every row, so a grader learns nothing from it"
                : `${plural(seen.num_distinct, "value")}${seen.num_distinct > seen.most_common.length ? ", the most common ones" : ""}`
            }
          >
            <Bars
              label={`Values of ${name}`}
              bars={seen.most_common.slice(0, 12).map(([value, rows]) => ({
                key: value,
                label: value === "" ? "(empty)" : <Untrusted text={value} />,
                value: rows,
              }))}
              onSelect={onValue}
            />
          </Section>
        ))}
      </SimpleGrid>
    </Stack>
  );
}

/** Bin n holds 2^n to below 2^(n+1) characters. */
export function lengthRange(low: number): string {
  if (low < 0) return "empty";
  if (low === 0) return "1";
  return `${count(2 ** low)} to ${count(2 ** (low + 1) - 1)}`;
}
