import { expect, test } from "vitest";
import { unlikely } from "./unlikely";

test("tokens are marked by how unlikely they were; the others make one piece", () => {
  const [sure, half, rare] = [Math.log(0.9), Math.log(0.4), Math.log(0.01)];
  const rollout = {
    reasoning: "so 😀 is",
    text: "42!",
    token_chars: [0, 3, 1, 3, 0, 1, 1, 1, 0],
    logprobs: [rare, sure, rare, sure, sure, half, sure, sure, sure],
  };
  expect(unlikely(rollout)).toEqual({
    reasoning: [
      { text: "so ", level: 0 },
      { text: "😀", level: 3, probability: expect.closeTo(0.01) },
      { text: " is", level: 0 },
    ],
    text: [
      { text: "4", level: 1, probability: expect.closeTo(0.4) },
      { text: "2!", level: 0 },
    ],
  });
});

test("without the tokens nothing is marked", () => {
  expect(unlikely({ reasoning: null, text: "a", logprobs: [0], token_chars: null })).toBeNull();
  expect(unlikely({ reasoning: null, text: "a" })).toBeNull();
});
