/** What every auto becomes: asked of the server while the form is filled, and what its refusals are about. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { answer, api } from "@/api/client";
import { ApiError } from "@/api/errors";
import type { JobCreateShapeRequest } from "@/api/schema";
import type { Body } from "./request";

/** Nothing of a job's name changes its plan. */
export function planQuery(body: Body, complete: boolean) {
  const { suffix: _, ...asked } = body;
  return queryOptions({
    queryKey: ["plan", asked],
    enabled: complete,
    // What the base did not answer in time it may answer later: the server asks it again after a minute.
    staleTime: ({ state }) => (isWhole(state.data?.plan) ? Number.POSITIVE_INFINITY : 60_000),
    // A server that has just started is a while before its models.
    retry: (count, error) => count < 12 && error instanceof ApiError && error.code === "model_server_unavailable",
    retryDelay: 2500,
    placeholderData: keepPreviousData,
    queryFn: () => answer(api.POST("/v1/fettle/plan", { body: asked as unknown as JobCreateShapeRequest })),
  });
}

export function isWhole(plan: Record<string, unknown> | undefined): boolean {
  return plan !== undefined && plan.max_completion_tokens !== null;
}

export type Place = "model" | "training" | "validation" | "grader" | "parameters";

/** At which part of the form a refusal is shown. */
export function placeOf(error: unknown): Place | null {
  if (!(error instanceof ApiError) || error.status >= 500 || error.status === 429) return null;
  const param = error.param ?? "";
  if (param === "model") return "model";
  if (param === "training_file" || param === "fettle.validation_split") return "training";
  if (param === "validation_file") return "validation";
  return param.startsWith("method.reinforcement.grader") ? "grader" : "parameters";
}

/** In one line what the job will do, from its plan. */
export function inShort(plan: Record<string, unknown>): string {
  const value = (name: string) => (typeof plan[name] === "number" ? (plan[name] as number) : null);
  const [steps, batch, group] = [value("total_steps"), value("batch_size"), value("group_size")];
  if (steps === null || batch === null) return "";
  const groups = batch * (value("updates_per_rollout") ?? 1) * (value("prompt_copies") ?? 1);
  const step = group === null ? `${batch} rows` : `${groups} × ${group} answers`;
  const every = value("eval_interval");
  const evaluated = every === null ? "" : `, evaluated every ${every === 1 ? "step" : `${every} steps`}`;
  return `At most ${steps} ${steps === 1 ? "step" : "steps"} of ${step}${evaluated} on ${value("select_items") ?? 0} rows`;
}
