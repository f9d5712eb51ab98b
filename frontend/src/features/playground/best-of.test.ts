import { expect, test } from "vitest";
import { bestOf } from "./best-of";

test("the highest reward wins, whatever most say", () => {
  expect(bestOf(["7", "7", "8"], [0, 0, 1])).toEqual({ best: 2, alike: 1, mean: 1 / 3, numGraded: 3 });
});

test("without grades the answer that most agree on wins, white space aside", () => {
  expect(bestOf(["8", "7", "7\n"], [null, null, null])).toEqual({ best: 1, alike: 2, mean: null, numGraded: 0 });
});

test("a failed grade is not a low one: it is left out of the mean and never preferred", () => {
  expect(bestOf(["a", "b", "c"], [null, 0.5, -1])).toEqual({ best: 1, alike: 1, mean: -0.25, numGraded: 2 });
  expect(bestOf(["a", "b"], [null, -1]).best).toBe(1);
});

test("equal rewards go to what is said more often, then to the first", () => {
  expect(bestOf(["a", "b", "b"], [1, 1, 1]).best).toBe(1);
  expect(bestOf(["a", "b"], [1, 1]).best).toBe(0);
});

test("no answers have no best one", () => {
  expect(bestOf([], []).best).toBe(-1);
});
