import { queryOptions } from "@tanstack/react-query";
import { answer, api } from "./client";
import type { ModelShape } from "./schema";

/** What `fettle` on a model holds; see `registry/wire.py`. */
export interface ModelFacts {
  kind: "base" | "fine_tuned" | "checkpoint";
  base_model: string;
  description?: string;
  step?: number;
  fine_tuning_job_id?: string;
  trained_from?: string;
  adapter_digest?: string;
  files?: Record<string, { size_bytes: number; sha256: string }>;
  selection?: ModelSelection;
}

export interface ModelSelection {
  verdict: "improved" | "no_measurable_gain";
  chosen_step: number;
  rule: string;
  base_mean: number;
  chosen_mean: number;
  gain: number;
  gain_low: number;
  gain_high: number;
  confidence: number;
  num_items: number;
  samples_per_item: number;
  in_sample: boolean;
  measured_on: string;
  kl_nats: number;
}

export interface Model {
  id: string;
  created: number;
  facts: ModelFacts;
}

function described({ id, created, fettle }: ModelShape): Model {
  return { id, created, facts: fettle as unknown as ModelFacts };
}

/** Base models and fine-tuned ones; checkpoints can be used but are not listed. */
export const modelsQuery = queryOptions({
  queryKey: ["models"],
  queryFn: async () => (await answer(api.GET("/v1/models"))).data.map(described),
});

export const modelQuery = (id: string) =>
  queryOptions({
    queryKey: ["models", id],
    queryFn: async () =>
      described(await answer(api.GET("/v1/fettle/models/{model_id}", { params: { path: { model_id: id } } }))),
  });
