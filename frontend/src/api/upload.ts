import { answer, api, requestHeaders } from "./client";
import { ApiError, failureOf, Unreachable } from "./errors";
import { chosenProject } from "./project";
import type { FileObject } from "./schema";

/** Larger files go in parts, so that a broken connection costs one part and not all. */
export const PART_BYTES = 32 * 1024 * 1024;
const TRIES = 3;

export interface Progress {
  sentBytes: number;
  totalBytes: number;
}

type Report = (progress: Progress) => void;

/** Uploads a file for fine-tuning; the server reads its rows before it answers. Throws ApiError or Unreachable. */
export async function uploadFile(file: File, report: Report, signal?: AbortSignal): Promise<FileObject> {
  if (file.size > PART_BYTES) return inParts(file, report, signal);
  const body = new FormData();
  body.append("purpose", "fine-tune");
  body.append("file", file, file.name);
  return send(
    "/v1/files",
    body,
    (sent) => report({ sentBytes: Math.min(sent, file.size), totalBytes: file.size }),
    signal,
  );
}

async function inParts(file: File, report: Report, signal?: AbortSignal): Promise<FileObject> {
  // Two tabs with the same file never send into one upload: the second begins its own, which nothing remembers.
  return aloneWith(keyOf(file), (alone) => sendParts(file, alone, report, signal));
}

/** Where a browser has no locks, which is outside https and loopback, everybody counts as alone. */
async function aloneWith<T>(name: string, work: (alone: boolean) => Promise<T>): Promise<T> {
  if (!navigator.locks) return work(true);
  return navigator.locks.request(name, { ifAvailable: true }, (lock) => work(lock !== null));
}

async function sendParts(file: File, alone: boolean, report: Report, signal?: AbortSignal): Promise<FileObject> {
  const begun = (alone && remembered(file)) || (await begin(file));
  const { partIds } = begun;
  for (const [start, end] of cuts(file.size, PART_BYTES).slice(partIds.length)) {
    const onSent = (sent: number) => report({ sentBytes: Math.min(start + sent, end), totalBytes: file.size });
    const part = await repeated(() => {
      const body = new FormData();
      body.append("data", file.slice(start, end), "part");
      return send<{ id: string }>(`/v1/uploads/${begun.uploadId}/parts`, body, onSent, signal);
    }, signal).catch((error) => {
      // What the server refuses it would refuse again; what broke on the way goes on where it was.
      if (error instanceof ApiError && alone) forget(file);
      throw error;
    });
    partIds.push(part.id);
    if (alone) remember(file, begun);
  }
  if (alone) forget(file);
  const params = { path: { upload_id: begun.uploadId } };
  const done = await answer(api.POST("/v1/uploads/{upload_id}/complete", { params, body: { part_ids: partIds } }));
  return done.file!;
}

/** An upload in parts that this browser has begun. */
interface Begun {
  uploadId: string;
  partIds: string[];
  expiresAt: number;
}

const KEPT = "fettle-upload-";

/** The same file again, in any tab, goes on behind the last part that arrived. */
function remembered(file: File): Begun | null {
  for (const key of Object.keys(localStorage).filter((one) => one.startsWith(KEPT))) {
    const { expiresAt }: Begun = JSON.parse(localStorage.getItem(key)!);
    if (expiresAt < Date.now() / 1000 + 60) localStorage.removeItem(key);
  }
  return JSON.parse(localStorage.getItem(keyOf(file)) ?? "null");
}

async function begin(file: File): Promise<Begun> {
  const upload = await answer(
    api.POST("/v1/uploads", {
      body: { bytes: file.size, filename: file.name, mime_type: "application/jsonl", purpose: "fine-tune" },
    }),
  );
  return { uploadId: upload.id, partIds: [], expiresAt: upload.expires_at };
}

function keyOf({ name, size, lastModified }: File): string {
  return `${KEPT}${chosenProject() ?? ""}-${name}-${size}-${lastModified}`;
}

function remember(file: File, begun: Begun): void {
  localStorage.setItem(keyOf(file), JSON.stringify(begun));
}

function forget(file: File): void {
  localStorage.removeItem(keyOf(file));
}

/** `cuts(10, 4)` -> [0, 4], [4, 8], [8, 10]. */
export function cuts(size: number, part: number): [number, number][] {
  return Array.from({ length: Math.ceil(size / part) }, (_, index) => [
    index * part,
    Math.min(size, (index + 1) * part),
  ]);
}

async function repeated<T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await call();
    } catch (error) {
      if (tries === TRIES || signal?.aborted || !(error instanceof Unreachable)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * tries));
    }
  }
}

/** fetch says nothing about how much was sent; XMLHttpRequest does. */
function send<T>(path: string, body: FormData, onSent: (bytes: number) => void, signal?: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(requestHeaders())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onSent(event.loaded);
    request.onerror = () => reject(new Unreachable());
    request.onabort = () => reject(new DOMException("The upload was stopped", "AbortError"));
    request.onload = async () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else {
        const headers = { "x-request-id": request.getResponseHeader("x-request-id") ?? "" };
        reject(await failureOf(new Response(request.responseText, { status: request.status, headers })));
      }
    };
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}
