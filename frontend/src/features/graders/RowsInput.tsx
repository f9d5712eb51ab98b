import { Group, NumberInput, TextInput } from "@mantine/core";
import { useState } from "react";
import { type Definition, guessedGold } from "@/ui/grader/kinds";
import { DatasetSelect, useDataset } from "./Dataset";

/** Which rows to grade, and how the right answer of a row is written: as the grader compares, until told otherwise. */
export function useRows(definition: Definition) {
  const { file } = useDataset();
  const [numRows, setNumRows] = useState(20);
  const [written, setWritten] = useState<string | null>(null);
  return { file, numRows, setNumRows, gold: written ?? guessedGold(definition), setGold: setWritten };
}

export type RowsChoice = ReturnType<typeof useRows>;

export function RowsInput({ rows }: { rows: RowsChoice }) {
  return (
    <>
      <Group align="flex-start" gap="sm">
        <DatasetSelect />
        <NumberInput
          label="Rows"
          w={90}
          min={1}
          max={500}
          value={rows.numRows}
          onChange={(next) => rows.setNumRows(Number(next) || 20)}
        />
      </Group>
      <TextInput
        label="The right answer of a row"
        description="A template. It has to score at the top"
        value={rows.gold}
        onChange={(event) => rows.setGold(event.currentTarget.value)}
      />
    </>
  );
}
