import { Select } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { filesQuery } from "./queries";

const route = getRouteApi("/frame/graders/$graderId");

/** The dataset that every part of the page works with, and its row; both are in the address. */
export function useDataset() {
  const { file = null, line = 1 } = route.useSearch();
  const navigate = route.useNavigate();
  const choose = (to: string | null, row = 1) =>
    navigate({
      search: (before) => ({ ...before, file: to ?? undefined, line: row > 1 ? row : undefined }),
      replace: true,
    });
  return { file, line, choose };
}

interface DatasetSelectProps {
  label?: string;
  /** What there is instead of a dataset. */
  placeholder?: string;
}

export function DatasetSelect({ label = "Dataset", placeholder = "Choose a file" }: DatasetSelectProps) {
  const { file, choose } = useDataset();
  const files = useQuery(filesQuery);
  const usable = (files.data?.data ?? []).filter((one) => one.status === "processed");
  const options = usable.map((one) => ({ value: one.id, label: `${one.filename} · ${one.id.slice(-4)}` }));
  const isGone = files.data && file && !options.some((one) => one.value === file);
  return (
    <Select
      label={label}
      placeholder={files.data && usable.length === 0 ? "Upload one first" : placeholder}
      clearable
      clearButtonProps={{ "aria-label": "Without a dataset" }}
      searchable
      flex="1 1 200px"
      error={isGone ? "This dataset is not there, or has rows to mend" : undefined}
      data={options}
      value={file}
      onChange={(to) => choose(to)}
    />
  );
}
