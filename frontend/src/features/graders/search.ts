const TABS = ["try", "batch", "red-team", "calibrate", "regrade", "versions"] as const;

export interface GraderSearch {
  tab?: (typeof TABS)[number];
}

export function graderSearch(raw: Record<string, unknown>): GraderSearch {
  return { tab: TABS.find((tab) => tab === raw.tab) };
}
