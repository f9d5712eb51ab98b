/** What of a dataset's page is in its address. */
export interface DatasetSearch {
  tab?: "rows" | "statistics" | "split";
  contains?: string;
  bad?: boolean;
  /** The row that is open. */
  line?: number;
}

export function datasetSearch(raw: Record<string, unknown>): DatasetSearch {
  const { tab, contains, bad, line } = raw;
  return {
    tab: tab === "statistics" || tab === "split" ? tab : undefined,
    contains: contains === undefined || contains === "" ? undefined : String(contains),
    bad: bad === true ? true : undefined,
    line: typeof line === "number" && Number.isInteger(line) && line > 0 ? line : undefined,
  };
}
