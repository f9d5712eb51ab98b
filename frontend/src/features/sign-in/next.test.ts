import { expect, test } from "vitest";
import { safeNext } from "./next";

test("only addresses of this page are followed after signing in", () => {
  expect(safeNext("/jobs/ftjob-1?step=3")).toBe("/jobs/ftjob-1?step=3");
  for (const elsewhere of [
    null,
    "",
    "//evil.test",
    "/\\evil.test",
    "https://evil.test",
    "javascript:alert(1)",
    "/sign-in",
  ]) {
    expect(safeNext(elsewhere)).toBe("/");
  }
});
