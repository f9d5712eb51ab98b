import type { JobShape } from "@/api/schema";

/** What each published error code means, and what to do about it. */
const CAUSES: Record<string, [title: string, next: string]> = {
  invalid_training_file: [
    "A training row cannot be used",
    "Mend the row that the message names and upload the file again.",
  ],
  invalid_validation_file: [
    "A held-out row cannot be used",
    "Mend the row that the message names and upload the file again.",
  ],
  invalid_grader: ["The grader cannot work with these rows", "Test the grader on a row, then try again."],
  invalid_hyperparameters: [
    "A parameter cannot hold for this model and these rows",
    "Set it back to auto, or as the message says.",
  ],
  grader_error_rate_exceeded: [
    "Too many answers could not be graded",
    "Test the grader; a failed grade is never taken for a reward.",
  ],
  sandbox_unavailable: [
    "The grader's code cannot be run here",
    "Ask the operator: the sandbox is missing on the worker.",
  ],
  sandbox_failure: ["The sandbox failed", "Try again; if it fails again, ask the operator."],
  no_learning_signal: [
    "There was nothing to learn from",
    "Make the grader give partial credit, or take easier rows; a preflight shows it beforehand.",
  ],
  out_of_memory: ["The trainer ran out of memory", "Take a smaller batch, shorter answers or a smaller model."],
  model_not_available: ["The base model cannot be loaded", "Ask the operator: its files are not on the worker."],
  worker_lost: ["The worker was lost three times in a row", "Read the worker's log; often it is memory."],
  internal_error: ["A fault of Fettle itself", "The operator finds the cause in the server's log."],
};

export function failureOf(job: Pick<JobShape, "error" | "fettle">): { title: string; stage: string; next: string } {
  const known = CAUSES[job.error?.code ?? ""];
  const { step, plan } = job.fettle;
  const stage =
    plan === null
      ? "before training, while files and grader were checked"
      : step === 0
        ? "at the start, before the first step"
        : `in training, after step ${step}`;
  return { title: known?.[0] ?? "The job failed", stage, next: known?.[1] ?? "" };
}
