/** Queries and words about jobs that several pages need. */
import { queryOptions } from "@tanstack/react-query";
import { answer, api } from "./client";
import { beyond, extended } from "./curves";
import type { EvaluationShape, JobShape, MetricsShape } from "./schema";
import { type Status, statusName } from "./status";

const ENDS: readonly Status[] = ["succeeded", "failed", "cancelled"];

export function isOver(status: Status | undefined): boolean {
  return status !== undefined && ENDS.includes(status);
}

export function jobQuery(id: string) {
  return queryOptions({
    queryKey: ["job", id],
    queryFn: () => answer(api.GET("/v1/fine_tuning/jobs/{job_id}", { params: { path: { job_id: id } } })),
  });
}

/** Points of each curve: about one for each pixel that a chart has. */
const CURVE_POINTS = 600;

/** Steps of a curve, both ends included. */
export interface Stretch {
  from: number;
  to: number;
}

/**
 * What is known already is extended by what came since: a look at a long job costs no more than one at a short one. The
 * browser sends the ETag back by itself: nothing new costs 304 and no bytes.
 *
 * @param over the job has ended. The last measurements come together with the end, so they are asked for once more then.
 * @param stretch only these steps, as finely as a chart can show them.
 */
export function metricsQuery(id: string, over: boolean, stretch?: Stretch) {
  const between = stretch && { after: stretch.from > 0 ? stretch.from - 1 : undefined, until: stretch.to };
  const ask = (after: number | undefined) =>
    answer(
      api.GET("/v1/fettle/fine_tuning/jobs/{job_id}/metrics", {
        params: {
          path: { job_id: id },
          query: { limit: CURVE_POINTS, ...between, ...(after !== undefined && { after }) },
        },
      }),
    );
  const queryKey = ["job", id, "metrics", over, stretch ?? null] as const;
  return queryOptions({
    queryKey,
    queryFn: async ({ client }): Promise<MetricsShape> => {
      const known = client.getQueryData<MetricsShape>(queryKey);
      const after = known && beyond(known, 2 * CURVE_POINTS);
      if (known === undefined || after === undefined) return ask(undefined);
      return extended(known, await ask(after)) ?? ask(undefined);
    },
    structuralSharing: false, // tens of thousands of points; what is the same stays the same by `extended`
    placeholderData: (old) => old,
  });
}

/** The checkpoints that can be used: those with the highest scores, and the delivered one. */
export function checkpointsQuery(id: string, over: boolean) {
  return queryOptions({
    queryKey: ["job", id, "checkpoints", over] as const,
    queryFn: () =>
      answer(
        api.GET("/v1/fine_tuning/jobs/{job_id}/checkpoints", {
          params: { path: { job_id: id }, query: { limit: 100 } },
        }),
      ),
    placeholderData: (old) => old,
  });
}

export function selectionQuery(id: string) {
  return queryOptions({
    queryKey: ["job", id, "selection"],
    queryFn: () =>
      answer(api.GET("/v1/fettle/fine_tuning/jobs/{job_id}/selection", { params: { path: { job_id: id } } })),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** How each held-out row did at one evaluated step. */
export function evaluationQuery(id: string, step: number) {
  return queryOptions({
    queryKey: ["job", id, "evaluation", step],
    queryFn: async (): Promise<EvaluationShape | null> => {
      const after = step > 0 ? `step-${step - 1}` : undefined;
      const page = await answer(
        api.GET("/v1/fettle/fine_tuning/jobs/{job_id}/evaluations", {
          params: { path: { job_id: id }, query: { after, limit: 1 } },
        }),
      );
      return page.data.find((one) => one.step === step) ?? null;
    },
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** What people call a job: its suffix, else the end of its id. */
export function jobName(job: Pick<JobShape, "id" | "user_provided_suffix">): string {
  return job.user_provided_suffix ?? `job …${job.id.slice(-8)}`;
}

export function statusWord(job: Pick<JobShape, "status" | "fettle">): string {
  if (job.status === "succeeded" && job.fettle.verdict === "improved") return "Improved";
  if (job.status === "succeeded" && job.fettle.verdict === "no_measurable_gain") return "No measurable gain";
  return statusName(job.status);
}

/** The playground with the model beside what it was trained from, asked a row: a held-out one where there is a file. */
export function besideItsStart(job: JobShape, model: string) {
  return { models: [job.model, model], file: job.validation_file ?? job.training_file, line: 1 };
}
