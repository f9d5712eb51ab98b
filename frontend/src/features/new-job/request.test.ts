import { expect, test } from "vitest";
import { copyOf, EMPTY, type Form, problemsOf, python, requestOf } from "./request";

const GRADER = { type: "string_check", name: "x", reference: "it's\n{{item.answer}}" };
const form: Form = {
  ...EMPTY,
  model: "fettle-tiny",
  training: "file-1",
  graderText: JSON.stringify(GRADER),
  set: { n_epochs: "3", temperature: "0.5", early_stopping: "false", lora_rank: "32" },
};

test("the body says what was chosen and nothing else", () => {
  expect(requestOf(form)).toEqual({
    model: "fettle-tiny",
    training_file: "file-1",
    method: {
      type: "reinforcement",
      reinforcement: {
        grader: GRADER,
        hyperparameters: { n_epochs: 3, early_stopping: false, temperature: 0.5, lora_rank: 32 },
      },
    },
    fettle: { validation_split: 0.2 },
  });
  const other = requestOf(
    { ...form, validation: "file-2", grader: "gradr-1", seed: "7", suffix: "s", set: {} },
    "preflight-1",
  );
  expect(other).toEqual({
    model: "fettle-tiny",
    training_file: "file-1",
    validation_file: "file-2",
    suffix: "s",
    seed: 7,
    method: { type: "reinforcement", reinforcement: { grader: "gradr-1" } },
    fettle: { preflight_id: "preflight-1" },
  });
});

test("a supervised job has no grader, nor the fields of sampling", () => {
  expect(requestOf({ ...form, method: "supervised" }).method).toEqual({
    type: "supervised",
    supervised: { hyperparameters: { n_epochs: 3, lora_rank: 32 } },
  });
});

test("what is missing or no value is said by its field", () => {
  expect(problemsOf(form)).toEqual({});
  const wrong = { ...form, model: "", graderText: "{", split: 1, set: { n_epochs: "2.5", temperature: "warm" } };
  expect(Object.keys(problemsOf(wrong)).sort()).toEqual(["grader", "model", "n_epochs", "split", "temperature"]);
});

test("JSON becomes Python", () => {
  expect(python({ a: [true, null, 'say "hi"'], b: {} }, 0)).toBe(
    '{\n    "a": [\n        True,\n        None,\n        "say \\"hi\\"",\n    ],\n    "b": {},\n}',
  );
});

test("every copy holds the same job and no key", () => {
  const body = requestOf(form);
  const json = copyOf(body, "json", "http://localhost:8000");
  expect(JSON.parse(json)).toEqual(body);
  for (const language of ["cli", "curl"] as const) {
    const copy = copyOf(body, language, "http://localhost:8000");
    expect(copy).toContain(json);
    expect(copy).not.toContain("fk_");
  }
  const code = copyOf(body, "python", "http://localhost:8000");
  expect(code).toContain('base_url="http://localhost:8000/v1"');
  expect(code).toContain("extra_body={");
  expect(code).toContain('"early_stopping": False,');
});
