import { queryOptions } from "@tanstack/react-query";
import { answer, api } from "@/api/client";

export const endpointsQuery = queryOptions({
  queryKey: ["webhooks"],
  queryFn: () => answer(api.GET("/v1/webhook_endpoints", { params: { query: { limit: 100 } } })),
});

const WORDS: Record<string, string> = {
  "fine_tuning.job.succeeded": "A job succeeded",
  "fine_tuning.job.failed": "A job failed",
  "fine_tuning.job.cancelled": "A job was cancelled",
};

export function eventInWords(type: string): string {
  return WORDS[type] ?? type;
}
