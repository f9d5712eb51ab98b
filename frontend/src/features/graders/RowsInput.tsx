import { Group, NumberInput, Select, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { filesQuery } from "./queries";

export interface RowsChoice {
  file: string | null;
  numRows: number;
  gold: string;
}

interface RowsInputProps {
  value: RowsChoice;
  onChange: (value: RowsChoice) => void;
}

/** Which rows to grade, and how the right answer of a row is written. */
export function RowsInput({ value, onChange }: RowsInputProps) {
  const files = useQuery(filesQuery);
  const usable = (files.data?.data ?? []).filter((file) => file.status === "processed");
  return (
    <>
      <Group align="flex-end" gap="sm">
        <Select
          label="Dataset"
          placeholder={usable.length ? "Choose a file" : "Upload one first"}
          searchable
          flex={1}
          data={usable.map((file) => ({ value: file.id, label: `${file.filename} · ${file.id.slice(-4)}` }))}
          value={value.file}
          onChange={(file) => onChange({ ...value, file })}
        />
        <NumberInput
          label="Rows"
          w={90}
          min={1}
          max={500}
          value={value.numRows}
          onChange={(numRows) => onChange({ ...value, numRows: Number(numRows) || 20 })}
        />
      </Group>
      <TextInput
        label="The right answer of a row"
        description="A template. It has to score at the top"
        value={value.gold}
        onChange={(event) => onChange({ ...value, gold: event.currentTarget.value })}
      />
    </>
  );
}
