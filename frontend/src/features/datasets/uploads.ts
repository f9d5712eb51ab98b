/** The uploads of this tab. They go on while the page that shows them is left. */
import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import { chosenProject } from "@/api/project";
import type { FileObject } from "@/api/schema";
import { type Progress, uploadFile } from "@/api/upload";
import { type Early, lookEarly } from "./check";
import { filesQuery } from "./queries";

export interface Upload {
  id: number;
  project: string | null;
  file: File;
  startedAt: number;
  stop: AbortController;
  early?: Early;
  sent: Progress;
  result?: FileObject;
  error?: string;
}

let uploads: readonly Upload[] = [];
let nextId = 1;
const listeners = new Set<() => void>();

function isOver({ result, error }: Upload): boolean {
  return result !== undefined || error !== undefined;
}

function warn(event: BeforeUnloadEvent): void {
  event.preventDefault();
}

function set(next: readonly Upload[]): void {
  uploads = next;
  // A browser asks before it closes a tab that is still sending.
  if (uploads.every(isOver)) window.removeEventListener("beforeunload", warn);
  else window.addEventListener("beforeunload", warn);
  for (const tell of listeners) tell();
}

function subscribe(tell: () => void): () => void {
  listeners.add(tell);
  return () => listeners.delete(tell);
}

export function useUploads(): readonly Upload[] {
  const all = useSyncExternalStore(subscribe, () => uploads);
  return all.filter((one) => one.project === chosenProject());
}

/** What has arrived needs no mention a second time; what broke may still be tried again. */
export function forgetArrived(): void {
  set(uploads.filter((one) => one.result === undefined));
}

export async function startUpload(file: File, client: QueryClient, instead?: number): Promise<void> {
  const id = nextId++;
  const change = (part: Partial<Upload>) => set(uploads.map((one) => (one.id === id ? { ...one, ...part } : one)));
  const stop = new AbortController();
  const sent = { sentBytes: 0, totalBytes: file.size };
  const made = { id, project: chosenProject(), file, startedAt: Date.now(), stop, sent };
  set([made, ...uploads.filter((one) => one.id !== instead)]);
  lookEarly(file, (early) => change({ early }), stop.signal).catch(() => {});
  try {
    change({ result: await uploadFile(file, (progress) => change({ sent: progress }), stop.signal) });
  } catch (error) {
    change({ error: error instanceof Error ? error.message : String(error) });
  }
  client.invalidateQueries(filesQuery);
}
