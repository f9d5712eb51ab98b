import { expect, test } from "vitest";
import { ApiError } from "@/api/errors";
import { inShort, placeOf } from "./plan";
import { inWords, PRESETS, presetOf } from "./presets";
import { EMPTY, problemsOf } from "./request";

const refused = (param: string | null, status = 400) => new ApiError(status, "no", null, param, null);

test("a refusal is shown where its cause is, and what passes by itself nowhere", () => {
  expect(placeOf(refused("training_file"))).toBe("training");
  expect(placeOf(refused("validation_file"))).toBe("validation");
  expect(placeOf(refused("method.reinforcement.grader.reference"))).toBe("grader");
  expect(placeOf(refused("method.reinforcement.hyperparameters.batch_size"))).toBe("parameters");
  expect(placeOf(refused(null, 503))).toBeNull();
  expect(placeOf(new Error("away"))).toBeNull();
});

test("a plan in one line: 8 prompts of 16 answers, twice a step", () => {
  const plan = { total_steps: 150, batch_size: 4, updates_per_rollout: 2, prompt_copies: 1, group_size: 16 };
  expect(inShort({ ...plan, eval_interval: 5, select_items: 10 })).toBe(
    "At most 150 steps of 8 × 16 answers, evaluated every 5 steps on 10 rows",
  );
  expect(inShort({ total_steps: 1, batch_size: 8, eval_interval: 1, select_items: 2 })).toBe(
    "At most 1 step of 8 rows, evaluated every step on 2 rows",
  );
  expect(inShort({})).toBe("");
});

test("a preset is the fields that it sets, all of them fields of its method with values that can be read", () => {
  for (const preset of PRESETS) {
    for (const method of ["reinforcement", "supervised"] as const) {
      const form = { ...EMPTY, method, model: "m", training: "f", graderText: "{}", set: preset.set[method] };
      expect(presetOf(form)).toBe(preset);
      expect(problemsOf(form)).toEqual({});
    }
  }
  expect(presetOf({ method: "reinforcement", set: { max_steps: "21" } })).toBeUndefined();
  expect(inWords({ max_steps: "20", group_size: "8" })).toBe("Steps at most 20 · Answers per prompt 8");
});
