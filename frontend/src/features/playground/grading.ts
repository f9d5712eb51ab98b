import { queryOptions, useQuery } from "@tanstack/react-query";
import { answer, api } from "@/api/client";
import { jobQuery } from "@/api/jobs";
import { modelsQuery } from "@/api/models";
import type { JobShape } from "@/api/schema";

type Item = Record<string, unknown>;

/** The job that made the first tuned one of these models. */
export function useJob(ids: readonly string[]): JobShape | undefined {
  const models = useQuery(modelsQuery);
  const tuned = ids.find((id) => id.startsWith("ft:"));
  // A checkpoint, which is not listed, is called after the model of its job.
  const jobId = models.data?.find((one) => tuned === one.id || tuned?.startsWith(`${one.id}:ckpt-step-`))?.facts
    .fine_tuning_job_id;
  return useQuery({ ...jobQuery(jobId ?? ""), enabled: jobId !== undefined }).data;
}

/** The grader of the tuned model's job; a base model is graded by the newest job's. */
export function useGrader(model: string, known: readonly string[]): object | undefined {
  const job = useJob([model, ...known]);
  return (job?.method.reinforcement as { grader?: object } | undefined)?.grader;
}

export function gradeQuery(grader: object | undefined, item: Item | null, text: string) {
  return queryOptions({
    queryKey: ["grade", grader, item, text],
    enabled: grader !== undefined && item !== null,
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
    queryFn: async () => {
      const body = { grader: grader as never, item: item ?? {}, model_sample: text };
      const { reward, metadata } = await answer(api.POST("/v1/fine_tuning/alpha/graders/run", { body }));
      return { reward, failed: Object.values(metadata.errors).some((flag) => flag === true) };
    },
  });
}
