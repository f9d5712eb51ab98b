/** The training fields in people's words. Ranges are the server's; what it refuses, it says. */
export interface Field {
  name: string;
  label: string;
  /** What `auto` does, in one sentence. The exact value is known when a preflight or the job has looked at the rows. */
  auto: string;
  kind: "integer" | "number" | "boolean" | readonly string[];
  /** Only these methods have it; default: reinforcement. */
  supervised?: true;
  /** Name of the value in the plan, where it has another. */
  plan?: string;
  group: "limits" | "sampling" | "learning";
}

export const FIELDS: readonly Field[] = [
  {
    name: "n_epochs", label: "Passes over the rows", kind: "integer", supervised: true, group: "limits",
    auto: "As many as make about 150 steps; early stopping bounds the harm of too many.",
  },
  {
    name: "max_steps", label: "Steps at most", kind: "integer", supervised: true, plan: "total_steps", group: "limits",
    auto: "No limit but the passes over the rows.",
  },
  {
    name: "early_stopping", label: "Stop when nothing is gained any more", kind: "boolean", group: "limits",
    auto: "On.",
  },
  {
    name: "eval_interval", label: "Steps between evaluations", kind: "integer", supervised: true, group: "limits",
    auto: "At least 5, and seldom enough that evaluating costs at most a quarter of the answers.",
  },
  {
    name: "eval_samples", label: "Answers per held-out row", kind: "integer", group: "limits",
    auto: "About 200 answers in all, from 1 to 16 for each row.",
  },
  {
    name: "batch_size", label: "Prompts per step", kind: "integer", supervised: true, group: "sampling",
    auto: "As many as make about 128 answers per step.",
  },
  {
    name: "group_size", label: "Answers per prompt", kind: "integer", group: "sampling",
    auto: "16, times the compute multiplier.",
  },
  {
    name: "compute_multiplier", label: "Compute multiplier", kind: "number", group: "sampling",
    auto: "1: more explores more and costs as much more.",
  },
  {
    name: "max_completion_tokens", label: "Tokens of an answer at most", kind: "integer", group: "sampling",
    auto: "Twice the base's longest own answers to some training rows: known when it has answered them.",
  },
  { name: "temperature", label: "Temperature", kind: "number", group: "sampling", auto: "1." },
  {
    name: "reasoning_effort", label: "Reasoning effort", kind: ["default", "low", "medium", "high"], group: "sampling",
    auto: "Default.",
  },
  {
    name: "learning_rate_multiplier", label: "Learning rate multiplier", kind: "number", supervised: true,
    group: "learning", auto: "1. The rate itself follows the width of the model.",
  },
  {
    name: "lora_rank", label: "Rank of the adapter", kind: ["8", "16", "32", "64", "128"], supervised: true,
    group: "learning", auto: "16.",
  },
  {
    name: "updates_per_rollout", label: "Updates per rollout", kind: "integer", group: "learning",
    auto: "1: every answer trains the policy that gave it.",
  },
  {
    name: "kl_coef", label: "KL coefficient", kind: "number", group: "learning",
    auto: "0 until the KL budget is passed, then as much as leads back.",
  },
  {
    name: "length_penalty", label: "Length penalty", kind: "number", group: "learning",
    auto: "0 until answers grow without getting better.",
  },
]; // biome-ignore format: one field a paragraph
