import { expect, test } from "vitest";
import { cutFrames, EMPTY_REPLY, extended } from "./chat";

test("frames are cut at line ends, the unfinished one waits for the rest", () => {
  const first = cutFrames('data: {"a": 1}\n\n: heartbeat\r\ndata: {"b"');
  expect(first).toEqual({ payloads: ['{"a": 1}'], rest: 'data: {"b"' });
  expect(cutFrames(`${first.rest}: 2}\n\ndata: [DONE]\n\n`).payloads).toEqual(['{"b": 2}', "[DONE]"]);
});

test("chunks add up, and usage comes last without a choice", () => {
  const chunks = [
    { choices: [{ delta: { reasoning_content: "Hm. " } }] },
    { choices: [{ delta: { content: "4" } }] },
    { choices: [{ delta: { content: "2" }, finish_reason: "stop" }], usage: null },
    { choices: [], usage: { prompt_tokens: 7, completion_tokens: 3 } },
  ];
  expect(chunks.reduce(extended, EMPTY_REPLY)).toEqual({
    content: "42",
    reasoning: "Hm. ",
    finishReason: "stop",
    promptTokens: 7,
    completionTokens: 3,
  });
});

test("an error in the middle of the stream is an error", () => {
  const broken = { error: { message: "The model server broke off.", code: "upstream_error", param: null } };
  expect(() => extended(EMPTY_REPLY, broken)).toThrow("The model server broke off.");
});
