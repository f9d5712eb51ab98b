import { expect, test } from "vitest";
import { parseRatings, parseTable, ratedRow } from "./rated";

test("ratings are read from JSON Lines, and a line that is none is named", () => {
  const text = '{"item": {"answer": "4"}, "text": "4", "label": 1}\n\n{"text": "5"}\n{"text": 5, "label": 1}\nnot\n';
  const { answers, problems } = parseRatings(text);
  expect(answers).toEqual([{ item: { answer: "4" }, text: "4", label: 1 }]);
  expect(problems).toEqual([
    "Line 3 has no label: expected a number, higher is better.",
    "Line 4 has no text: the answer that was rated.",
    "Line 5 is not JSON.",
  ]);
});

test("of a table text and label are the rating, every other column is the item's", () => {
  const table = 'answer,text,label\n4,"four, ""4""",0.5\n5,5,\n';
  expect(parseRatings(table)).toEqual({
    answers: [{ item: { answer: "4" }, text: 'four, "4"', label: 0.5 }],
    problems: ["Line 3 has no label: expected a number, higher is better."],
  });
  expect(parseRatings("text\trating\na\t1").problems[0]).toContain("found text, rating");
});

test("a quoted cell may hold line ends; rows keep the line they begin on", () => {
  expect(parseTable('a\tb\r\n"x\ny"\t1\nz\t2')).toEqual([
    { line: 1, cells: ["a", "b"] },
    { line: 2, cells: ["x\ny", "1"] },
    { line: 4, cells: ["z", "2"] },
  ]);
});

test("a dataset's row is rated by two of its columns", () => {
  const row = { answer: "4", reply: "five", good: false };
  expect(ratedRow(row, "reply", "good")).toEqual({ item: row, text: "five", label: 0 });
});
