import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { cuts, PART_BYTES } from "./upload";

test("a file is cut without a gap, the last part being the rest", () => {
  expect(cuts(10, 4)).toEqual([
    [0, 4],
    [4, 8],
    [8, 10],
  ]);
  expect(cuts(8, 4)).toHaveLength(2);
});

const asked: { path: string; body: unknown }[] = [];
let broken = false;
let numParts = 0;

/** A connection that can break; every part that arrives gets the next id. */
class Connection {
  upload: { onprogress?: unknown } = {};
  status = 200;
  responseText = "";
  onload?: () => void;
  onerror?: () => void;
  open(_: string, path: string) {
    asked.push({ path, body: null });
  }
  setRequestHeader() {}
  getResponseHeader() {
    return null;
  }
  send() {
    if (broken && numParts >= 1) return this.onerror?.();
    numParts += 1;
    this.responseText = JSON.stringify({ id: `part_${numParts}` });
    this.onload?.();
  }
}

beforeEach(() => {
  localStorage.clear();
  asked.length = 0;
  numParts = 0;
  vi.useFakeTimers();
  vi.stubGlobal("XMLHttpRequest", Connection);
  vi.stubGlobal("fetch", async (request: Request) => {
    const path = new URL(request.url).pathname;
    asked.push({ path, body: await request.json() });
    const answer = { id: "upload_1", expires_at: Date.now() / 1000 + 3600, file: { id: "file-1" } };
    return new Response(JSON.stringify(answer), { headers: { "content-type": "application/json" } });
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const LARGE = {
  name: "rows.jsonl",
  size: 3 * PART_BYTES,
  lastModified: 1,
  slice: () => new Blob(["x"]),
} as unknown as File;

/** What one tab has in its memory another has not. */
async function inAnotherTab() {
  vi.resetModules();
  return (await import("./upload")).uploadFile;
}

test("a large upload that broke goes on behind the last part that arrived, in another tab too", async () => {
  const uploadFile = await inAnotherTab();
  broken = true;
  const first = expect(uploadFile(LARGE, () => {})).rejects.toThrow("cannot be reached");
  await vi.runAllTimersAsync();
  await first;
  expect(asked.map((one) => one.path)).toEqual([
    "/v1/uploads",
    // One part, and three tries of the next.
    ...Array(4).fill("/v1/uploads/upload_1/parts"),
  ]);
  asked.length = 0;
  broken = false;
  expect(await (await inAnotherTab())(LARGE, () => {})).toEqual({ id: "file-1" });
  expect(asked.map((one) => one.path)).toEqual([
    "/v1/uploads/upload_1/parts",
    "/v1/uploads/upload_1/parts",
    "/v1/uploads/upload_1/complete",
  ]);
  expect(asked.at(-1)!.body).toEqual({ part_ids: ["part_1", "part_2", "part_3"] });
});

test("a tab beside one that sends the same file begins an upload of its own, and leaves the other's alone", async () => {
  broken = false;
  const key = "fettle-upload--rows.jsonl-100663296-1";
  const theirs = JSON.stringify({ uploadId: "upload_0", partIds: ["part_0"], expiresAt: Date.now() / 1000 + 3600 });
  localStorage.setItem(key, theirs);
  const request = (_: string, __: unknown, work: (lock: null) => unknown) => work(null);
  vi.stubGlobal("navigator", { locks: { request } });
  await (await inAnotherTab())(LARGE, () => {});
  expect(asked.filter((one) => one.path.includes("upload_0"))).toEqual([]);
  expect(numParts).toBe(3);
  expect(localStorage.getItem(key)).toBe(theirs);
});
