import type { Query, QueryClient } from "@tanstack/react-query";

const EVERYTHING = "everything";
const PAUSE_MS = 1000;

/**
 * Asks again for what is on the screen of jobs that changed. One round after another: a server is asked no faster than
 * it answers, and what changes during a round is asked for in the next.
 */
export class Refresher {
  private readonly waiting = new Set<string>();
  private busy = false;

  constructor(
    private readonly client: Pick<QueryClient, "refetchQueries">,
    private readonly pauseMs = PAUSE_MS,
  ) {}

  /** @param jobs ids; none given: of all. In a hidden tab this waits for `resume`. */
  refresh(jobs: readonly string[] = [EVERYTHING]): void {
    for (const job of jobs) this.waiting.add(job);
    this.resume();
  }

  async resume(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    while (this.waiting.size > 0 && !document.hidden) {
      const jobs = new Set(this.waiting);
      this.waiting.clear();
      await this.client.refetchQueries({ type: "active", predicate: (query) => concerns(query, jobs) });
      await new Promise((resolve) => setTimeout(resolve, this.pauseMs));
    }
    this.busy = false;
  }
}

/** Whether a query follows something alive, and that is one of the jobs, or no single job. */
export function concerns(query: Pick<Query, "queryKey" | "observers">, jobs: ReadonlySet<string>): boolean {
  if (!query.observers.some((one) => one.options.refetchInterval)) return false;
  if (jobs.has(EVERYTHING)) return true;
  const named = query.queryKey.filter((part) => typeof part === "string" && part.startsWith("ftjob-"));
  return named.every((id) => jobs.has(id as string));
}
