import { expect, test } from "vitest";
import { guessedGold, itemFields, KINDS, withField } from "./kinds";

test("every kind begins with a definition of its own type that has all it must have", () => {
  for (const kind of KINDS) {
    expect(kind.example.type).toBe(kind.type);
    const needed = kind.fields.filter((field) => !field.optional && field.kind !== "flag").map((field) => field.name);
    expect(needed.filter((name) => !(name in kind.example))).toEqual([]);
  }
});

test("an emptied field leaves the definition, and what the form does not know stays", () => {
  const definition = { type: "regex", pattern: "a", reference: "x", extra: 1 };
  expect(withField(definition, "reference", "")).toEqual({ type: "regex", pattern: "a", extra: 1 });
  expect(withField(definition, "pattern", "b")).toEqual({ type: "regex", pattern: "b", reference: "x", extra: 1 });
  expect(withField({ type: "format", boxed: true }, "boxed", false)).toEqual({ type: "format" });
});

test("fields of the row are read from templates, also inside a multi", () => {
  const inner = { type: "math", reference: "{{ item.answer }}" };
  expect(itemFields({ type: "multi", graders: { a: inner, b: { ...inner, reference: "{{item.unit}}" } } })).toEqual([
    "answer",
    "unit",
  ]);
  expect(guessedGold(inner)).toBe("{{ item.answer }}");
  expect(guessedGold({ type: "python", source: "" })).toBe("");
});
