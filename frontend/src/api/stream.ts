/** The event stream in a tab: while it is there, hints refresh what is shown, and nobody has to ask every two seconds. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import { Refresher } from "./refresh";
import type { Told } from "./relay";

let connected = false;
const listeners = new Set<() => void>();

function setConnected(value: boolean): void {
  connected = value;
  for (const listener of listeners) listener();
}

export function useConnected(): boolean {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => connected,
  );
}

/** Listens while the caller is mounted. A browser without shared workers goes on polling. */
export function useStream(): void {
  const client = useQueryClient();
  useEffect(() => {
    if (typeof SharedWorker === "undefined") return;
    const refresher = new Refresher(client);
    const { port } = new SharedWorker(new URL("./stream-worker.ts", import.meta.url), {
      type: "module",
      name: "fettle-stream",
    });
    port.onmessage = ({ data }: MessageEvent<Told>) => {
      if ("connected" in data) setConnected(data.connected);
      else refresher.refresh("jobs" in data ? Object.keys(data.jobs) : undefined);
    };
    const resume = () => refresher.resume();
    const join = () => port.postMessage("join");
    const comeBack = (event: PageTransitionEvent) => event.persisted && join();
    const leave = () => port.postMessage("leave");
    document.addEventListener("visibilitychange", resume);
    window.addEventListener("pageshow", comeBack);
    window.addEventListener("pagehide", leave);
    join();
    return () => {
      document.removeEventListener("visibilitychange", resume);
      window.removeEventListener("pageshow", comeBack);
      window.removeEventListener("pagehide", leave);
      leave();
      port.close();
      setConnected(false);
    };
  }, [client]);
}
