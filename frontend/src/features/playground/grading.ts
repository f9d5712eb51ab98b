import { queryOptions, useQuery } from "@tanstack/react-query";
import { answer, api } from "@/api/client";
import { jobQuery } from "@/api/jobs";
import { modelsQuery } from "@/api/models";

type Item = Record<string, unknown>;

/** The grader of the tuned model's job; a base model is graded by the newest job's. */
export function useGrader(model: string, known: readonly string[]): object | undefined {
  const models = useQuery(modelsQuery);
  const tuned = [model, ...known].find((id) => id.startsWith("ft:"));
  const jobId = models.data?.find((one) => one.id === tuned)?.facts.fine_tuning_job_id;
  const job = useQuery({ ...jobQuery(jobId ?? ""), enabled: jobId !== undefined });
  return (job.data?.method.reinforcement as { grader?: object } | undefined)?.grader;
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
