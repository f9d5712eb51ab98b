import { queryOptions } from "@tanstack/react-query";
import { answer, api } from "@/api/client";
import type { RolloutShape } from "@/api/schema";

interface Place {
  purpose: "train" | "eval" | "final" | "report";
  row?: number;
}

/** The answers to a prompt at an earlier step, by their number: the first is compared with the first. */
export function earlierQuery(jobId: string, { purpose, row }: Place, step: number | undefined) {
  return queryOptions({
    queryKey: ["job", jobId, "rollouts-at", purpose, row, step],
    enabled: step !== undefined && row !== undefined,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async () => {
      const query = { purpose, row, step, limit: 1000 };
      const page = await answer(
        api.GET("/v1/fettle/fine_tuning/jobs/{job_id}/rollouts", { params: { path: { job_id: jobId }, query } }),
      );
      return new Map<number, RolloutShape>(page.data.map((one) => [one.sample_index, one]));
    },
  });
}
