import type { JobShape } from "@/api/schema";
import { number } from "@/ui/format";

export interface Difference {
  path: string;
  /** In the order of the jobs; what a job has not is "–". */
  values: string[];
}

/** What was asked for differently: model, data, seed, grader and parameters, and what `auto` became differently. */
export function differences(jobs: readonly JobShape[]): Difference[] {
  const flat = jobs.map((job) => {
    const type = job.method.type as string;
    const body = (job.method as Record<string, Record<string, unknown>>)[type] ?? {};
    return leaves({
      model: job.model,
      training_rows: rowsOf(job.training_file, job.fettle.file_digests.training),
      held_out_rows: job.validation_file && rowsOf(job.validation_file, job.fettle.file_digests.validation),
      validation_split: job.fettle.validation_split,
      seed: job.seed,
      method: type,
      grader: body.grader,
      response_format: body.response_format,
      asked: job.fettle.requested,
      plan: job.fettle.plan,
    });
  });
  const kinds = new Set(flat.map((one) => one.get("grader.type")));
  if (kinds.size > 1) for (const [index, one] of flat.entries()) foldGrader(one, jobs[index]!);
  const paths = [...new Set(flat.flatMap((one) => [...one.keys()]))];
  return paths
    .map((path) => ({ path: path.replace(/^asked\./, ""), values: flat.map((one) => one.get(path) ?? "–") }))
    .filter(({ values }) => new Set(values).size > 1);
}

/** Files of one content hold the same rows, whatever their ids. */
function rowsOf(file: string, digest: string | null): string {
  return `SHA-256 ${(digest ?? file).slice(0, 12)}…`;
}

/** Graders of different kinds have nothing to compare field by field. */
function foldGrader(one: Map<string, string>, job: JobShape): void {
  for (const path of [...one.keys()]) if (path.startsWith("grader.")) one.delete(path);
  const body = (job.method as Record<string, { grader?: unknown }>)[job.method.type as string];
  if (body?.grader) one.set("grader", JSON.stringify(body.grader, null, 1));
}

/** `{a: {b: 1}}` as `a.b` -> "1". */
function leaves(value: unknown, path = "", found = new Map<string, string>()): Map<string, string> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    for (const [name, inner] of Object.entries(value)) leaves(inner, path ? `${path}.${name}` : name, found);
  } else if (value !== null && value !== undefined) {
    found.set(
      path,
      typeof value === "string" ? value : typeof value === "number" ? number(value) : JSON.stringify(value),
    );
  }
  return found;
}
