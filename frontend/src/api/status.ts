/** The states of a job and their words; apart from the queries, because the routes read it on every page. */
import type { JobShape } from "./schema";

export type Status = JobShape["status"];

const WORDS: Record<Status, string> = {
  validating_files: "Checking files",
  queued: "Waiting",
  running: "Running",
  pausing: "Pausing",
  paused: "Paused",
  succeeded: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
};

export const STATUSES = Object.keys(WORDS) as Status[];

export function statusName(status: Status): string {
  return WORDS[status];
}
