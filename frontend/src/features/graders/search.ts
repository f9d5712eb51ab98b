const TABS = ["try", "batch", "red-team", "calibrate", "regrade", "versions"] as const;

export interface GraderSearch {
  tab?: (typeof TABS)[number];
  /** The dataset that the whole page works with. */
  file?: string;
  /** The row of it that one answer is graded to. */
  line?: number;
}

export function graderSearch(raw: Record<string, unknown>): GraderSearch {
  const { file, line } = raw;
  return {
    tab: TABS.find((tab) => tab === raw.tab),
    file: typeof file === "string" && file ? file : undefined,
    line: typeof line === "number" && Number.isInteger(line) && line > 1 ? line : undefined,
  };
}
