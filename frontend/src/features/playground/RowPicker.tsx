import { NumberInput, Select, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { answer, api } from "@/api/client";
import type { FileRow } from "@/api/schema";

interface RowPickerProps {
  file: string | undefined;
  line: number | undefined;
  onChoose: (file: string | undefined, line: number | undefined) => void;
  onLoaded: (row: FileRow | null) => void;
}

/** Asks what a dataset asks; the row brings its reference along, so that answers can be graded. */
export function RowPicker({ file, line, onChoose, onLoaded }: RowPickerProps) {
  const files = useQuery({
    queryKey: ["files"],
    queryFn: () => answer(api.GET("/v1/files", { params: { query: { purpose: "fine-tune", limit: 1000 } } })),
  });
  const row = useQuery({
    queryKey: ["files", file, "row", line],
    enabled: file !== undefined && line !== undefined,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async () => {
      const params = { path: { file_id: file! }, query: { after: `line-${line! - 1}`, limit: 1 } };
      return (await answer(api.GET("/v1/fettle/files/{file_id}/rows", { params }))).data[0] ?? null;
    },
  });
  const loaded = useRef(onLoaded);
  loaded.current = onLoaded;
  useEffect(() => {
    if (row.data !== undefined) loaded.current(row.data);
  }, [row.data]);
  return (
    <>
      <Select
        label="Row of a dataset"
        placeholder="none"
        clearable
        searchable
        w={220}
        data={(files.data?.data ?? []).map((one) => ({
          value: one.id,
          label: `${one.filename} · ${one.id.slice(-4)}`,
        }))}
        value={file ?? null}
        onChange={(value) => onChoose(value ?? undefined, value ? 1 : undefined)}
      />
      {file && (
        <NumberInput
          label="Line"
          w={90}
          min={1}
          value={line ?? 1}
          onChange={(value) => Number(value) > 0 && onChoose(file, Number(value))}
        />
      )}
      {file && row.data === null && <Text size="sm">The file ends before this line.</Text>}
      {row.isError && <Text size="sm">The row could not be read: {row.error.message}</Text>}
    </>
  );
}
