import { expect, test } from "vitest";
import { textDiff } from "./text-diff";

const marked = (before: string, after: string) =>
  textDiff(before, after)
    .map(({ kind, text }) => (kind === "same" ? text : kind === "added" ? `{+${text}+}` : `[-${text}-]`))
    .join("");

test("words that went and words that came are told apart", () => {
  expect(marked("so 3 + 4 is 8", "so 3 + 4 is 7")).toBe("so 3 + 4 is [-8-]{+7+}");
  expect(marked("a b c d", "a c x d")).toBe("a [-b -]c {+x +}d");
});

test("equal and empty texts have nothing to mark", () => {
  expect(marked("the same", "the same")).toBe("the same");
  expect(textDiff("", "")).toEqual([]);
  expect(marked("", "new")).toBe("{+new+}");
  expect(marked("old", "")).toBe("[-old-]");
});

test("a repeated word at both ends is counted once, and a word goes with the space behind it", () => {
  expect(marked("a", "a a")).toBe("{+a +}a");
  expect(marked("x y x", "x")).toBe("[-x y -]x");
});

test("without what was removed it is the new text, without what was added the old one", () => {
  const before = "one two  three\nfour five six";
  const after = "two three\nfour and six seven";
  const parts = textDiff(before, after);
  const without = (kind: string) => parts.flatMap((part) => (part.kind === kind ? [] : [part.text])).join("");
  expect([without("removed"), without("added")]).toEqual([after, before]);
});

test("two long texts with nothing in common are told apart at once", () => {
  const long = (word: string) => Array.from({ length: 3000 }, (_, index) => `${word}${index}`).join(" ");
  expect(textDiff(long("a"), long("b")).map((part) => part.kind)).toEqual(["removed", "added"]);
});
