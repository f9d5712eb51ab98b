import { FIELDS } from "@/api/hyperparameters";
import type { JobShape } from "@/api/schema";

export interface Setting {
  name: string;
  label: string;
  value: unknown;
  /** Set by whoever made the job. */
  changed: boolean;
  auto: string;
  planName: string;
}

/**
 * The parameters of a job. The echo shows what `auto` became once there is a plan; what was asked for differs from the
 * plan nowhere, so a value counts as set when the request named it, which the server tells in `fettle.requested`.
 */
export function settingsOf(job: Pick<JobShape, "method" | "fettle">): Setting[] {
  const type = job.method.type as string;
  const body = (job.method as Record<string, unknown>)[type] as { hyperparameters?: Record<string, unknown> };
  const echoed = body.hyperparameters ?? {};
  const asked = job.fettle.requested;
  return FIELDS.filter((field) => field.name in echoed).map((field) => {
    const changed =
      asked[field.name] !== "auto" && !(field.name === "reasoning_effort" && asked[field.name] === "default");
    const planName = field.plan ?? field.name;
    const planned = job.fettle.plan?.[planName];
    return {
      name: field.name,
      label: field.label,
      value: changed
        ? asked[field.name]
        : echoed[field.name] === "auto"
          ? job.fettle.plan
            ? planned
            : "auto"
          : echoed[field.name],
      changed,
      auto: field.auto,
      planName,
    };
  });
}
