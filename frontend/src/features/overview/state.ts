/** What the overview concludes from the state of the project. */
import type { FileObject, JobShape, JobWithProgressShape } from "@/api/schema";
import { duration, number, plural, signed } from "@/ui/format";

const LIVE: readonly JobShape["status"][] = ["validating_files", "queued", "running", "pausing"];

export function running<Job extends JobShape>(jobs: readonly Job[]): Job[] {
  return jobs.filter((job) => LIVE.includes(job.status));
}

/** The one sentence on top. */
export function lead(jobs: readonly JobShape[]): string {
  const live = running(jobs);
  if (live.length > 0) return `${plural(live.length, "job")} on the way.`;
  const last = jobs[0];
  if (!last) return "Bring questions and a grader; get back a model that answers them better, with the proof.";
  const gain = last.fettle.selection?.gain;
  if (last.status === "succeeded" && last.fettle.verdict === "improved" && typeof gain === "number") {
    return `Nothing is running. The last job gained ${signed(gain)}.`;
  }
  return "Nothing is running.";
}

/** How a job that is not running stands, in a few words. */
export function outcome(job: JobShape): string {
  const { verdict, selection } = job.fettle;
  if (job.status !== "succeeded") return job.status;
  if (verdict !== "improved" || !selection) return verdict ? "no measurable gain" : "succeeded";
  const { gain, gain_low: low, gain_high: high } = selection as Record<string, number>;
  return `gained ${signed(gain ?? 0)} (${signed(low ?? 0)} to ${signed(high ?? 0)})`;
}

/** What a living job has reached, and how long it takes yet. */
export function progressOf(job: JobWithProgressShape, now: number): string {
  const { best } = job.progress;
  const parts = best ? [`Best so far ${number(best.mean)}, at step ${best.step}.`] : [];
  if (job.status === "running" && job.estimated_finish) {
    parts.push(`About ${duration(job.estimated_finish - now)} left.`);
  }
  return parts.join(" ");
}

export interface Need {
  job: JobShape;
  why: string;
}

/** Jobs that wait for a person: failed in the last days, paused, or ended without a gain. */
export function needsYou(jobs: readonly JobShape[], now = Date.now() / 1000): Need[] {
  const recent = (job: JobShape) => (job.finished_at ?? job.created_at) > now - 3 * 86_400;
  return jobs.flatMap((job) => {
    if (job.status === "failed" && recent(job)) return [{ job, why: job.error?.message ?? "It failed." }];
    if (job.status === "paused")
      return [{ job, why: "Paused; it goes on from its newest checkpoint when you resume it." }];
    if (job.fettle.verdict === "no_measurable_gain" && recent(job)) {
      return [{ job, why: "It found nothing measurably better than what it started from." }];
    }
    return [];
  });
}

export interface Step {
  title: string;
  hint: string;
  verb: string;
  /** Where it is done, with what is there to choose already chosen. */
  to: string;
  search?: Record<string, string | undefined>;
  hash?: string;
  done: boolean;
}

interface Facts {
  files: readonly Pick<FileObject, "id" | "status">[];
  graders: readonly { newest: { id: string } }[];
  baseModels: readonly string[];
  preflights: readonly { status: string }[];
  jobs: readonly JobShape[];
}

/** The way to a first model; what is done is read from the project, not remembered. */
export function checklist({ files, graders, baseModels, preflights, jobs }: Facts): Step[] {
  const usable = files.filter((file) => file.status === "processed");
  const training = onlyOne(usable)?.id;
  const job = { model: onlyOne(baseModels), training, grader: onlyOne(graders)?.newest.id };
  return [
    {
      title: "Upload a dataset",
      hint: "A few dozen questions as JSONL are enough to begin.",
      verb: "Upload",
      to: "/datasets",
      done: usable.length > 0,
    },
    {
      title: "Write a grader",
      hint: "The rule that says how good an answer is. It is the goal of the training.",
      verb: "Write",
      to: graders.length ? "/graders" : "/graders/new",
      search: graders.length ? undefined : { file: training },
      done: graders.length > 0 || jobs.length > 0,
    },
    {
      title: "Look before you train",
      hint: "A preflight asks the model first and says whether there is anything to learn.",
      verb: "Check",
      to: "/jobs/new",
      search: job,
      hash: "preflight",
      done: preflights.some((one) => one.status === "succeeded") || jobs.some((one) => one.status === "succeeded"),
    },
    {
      title: "Train",
      hint: "Watch it learn; the best checkpoint is chosen by rows it never saw.",
      verb: "Train",
      to: "/jobs/new",
      search: job,
      done: jobs.some((one) => one.status === "succeeded"),
    },
  ];
}

function onlyOne<T>(choices: readonly T[]): T | undefined {
  return choices.length === 1 ? choices[0] : undefined;
}
