import { expect, test } from "vitest";
import { type Early, lookEarly, problemOf } from "./check";

const row = (role: string) => JSON.stringify({ messages: [{ role, content: "é" }] });

test("a line is JSON, an object, with messages of known roles", () => {
  expect(problemOf(row("user"))).toBeNull();
  expect(problemOf('{"messages": [')).toBe("not valid JSON");
  expect(problemOf("[1]")).toBe("not an object {...}");
  expect(problemOf('{"messages": []}')).toBe("no list of messages");
  expect(problemOf(row("usr"))).toContain("role is none of");
  expect(problemOf('{"messages": [null]}')).toContain("role is none of");
});

test("bad lines are counted by their number in the file, the first three shown, before its end", async () => {
  const text = [row("user"), "", row("usr"), "x", "y", "z", row("user")].join("\n");
  const bytes = new TextEncoder().encode(text);
  // Cut inside of lines.
  const pieces = [bytes.slice(0, 41), bytes.slice(41, 120), bytes.slice(120)];
  const stream = () =>
    new ReadableStream({
      start(to) {
        for (const one of pieces) to.enqueue(one);
        to.close();
      },
    });
  const told: Early[] = [];
  const found = await lookEarly({ stream } as unknown as Blob, (early) => told.push(early));
  expect(found).toEqual({
    numLines: 7,
    numBad: 4,
    bad: [
      { line: 3, problem: expect.stringContaining("role") },
      { line: 4, problem: "not valid JSON" },
      { line: 5, problem: "not valid JSON" },
    ],
    done: true,
  });
  expect(told[0]!.done).toBe(false);
  expect(told.at(-1)!.numBad).toBe(4);
});
