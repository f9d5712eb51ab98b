import { expect, test } from "vitest";
import { pieces } from "./characters";

test("plain text, line ends and other scripts stay as they are", () => {
  for (const text of ["The answer is 42.\n\tDone.", "Ünïcødé — 東京", "עברית"]) {
    expect(pieces(text)).toEqual([{ text, odd: false }]);
  }
  expect(
    pieces("a\r\nb")
      .map((piece) => piece.text)
      .join(""),
  ).toBe("a\nb");
});

test("what reverses or hides text is shown by its code point", () => {
  expect(pieces("pay \u202e01 now")).toEqual([
    { text: "pay ", odd: false },
    { text: "U+202E", odd: true },
    { text: "01 now", odd: false },
  ]);
  expect(
    pieces("a\u200bb\u0000\u{e0041}")
      .filter((piece) => piece.odd)
      .map((piece) => piece.text),
  ).toEqual(["U+200B", "U+0000", "U+E0041"]);
});

test("a joiner inside an emoji is part of it, elsewhere it is odd", () => {
  expect(pieces("👩‍💻")).toEqual([{ text: "👩‍💻", odd: false }]);
  expect(pieces("ad\u200dmin").some((piece) => piece.odd)).toBe(true);
});

test("an empty text has no pieces", () => {
  expect(pieces("")).toEqual([]);
});
