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

test("a large upload that broke goes on behind the last part that arrived", async () => {
  vi.resetModules();
  const { uploadFile } = await import("./upload");
  const file = { name: "rows.jsonl", size: 3 * PART_BYTES, lastModified: 1, slice: () => new Blob(["x"]) };
  broken = true;
  const first = expect(uploadFile(file as unknown as File, () => {})).rejects.toThrow("cannot be reached");
  await vi.runAllTimersAsync();
  await first;
  expect(asked.map((one) => one.path)).toEqual([
    "/v1/uploads",
    // One part, and three tries of the next.
    ...Array(4).fill("/v1/uploads/upload_1/parts"),
  ]);
  asked.length = 0;
  broken = false;
  expect(await uploadFile(file as unknown as File, () => {})).toEqual({ id: "file-1" });
  expect(asked.map((one) => one.path)).toEqual([
    "/v1/uploads/upload_1/parts",
    "/v1/uploads/upload_1/parts",
    "/v1/uploads/upload_1/complete",
  ]);
  expect(asked.at(-1)!.body).toEqual({ part_ids: ["part_1", "part_2", "part_3"] });
});
