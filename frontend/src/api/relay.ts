/** One event stream for all tabs of a browser: what the shared worker does, apart from being one. */

/** What a tab is told. `reset`: hints may have been missed, anything may be new. */
export type Told = { connected: boolean } | { reset: true } | { jobs: Record<string, string> };

/** The parts of an EventSource that are used. */
export interface Source {
  readonly readyState: number;
  onopen: (() => void) | null;
  onerror: (() => void) | null;
  addEventListener(type: string, listener: (event: { data: string }) => void): void;
  close(): void;
}

export interface Tab {
  postMessage(told: Told): void;
}

const CLOSED = 2;
/** A refusal is not followed by the browser's own attempts; it may pass, as when a server is started. */
const RETRY_MS = 60_000;

export class Relay {
  private readonly tabs = new Set<Tab>();
  private source: Source | null = null;
  private connected = false;
  private retry: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly open: () => Source) {}

  join(tab: Tab): void {
    this.tabs.add(tab);
    if (this.source === null) this.connect();
    else if (this.connected) {
      tab.postMessage({ connected: true });
      tab.postMessage({ reset: true });
    }
  }

  /** Without a tab there is no stream. */
  leave(tab: Tab): void {
    this.tabs.delete(tab);
    if (this.tabs.size > 0) return;
    clearTimeout(this.retry);
    this.source?.close();
    this.source = null;
    this.connected = false;
  }

  private connect(): void {
    const source = this.open();
    this.source = source;
    source.onopen = () => this.say(true);
    source.onerror = () => {
      this.say(false);
      if (source.readyState === CLOSED) this.retry = setTimeout(() => this.connect(), RETRY_MS);
    };
    source.addEventListener("reset", () => this.tell({ reset: true }));
    source.addEventListener("message", (event) => this.tell(JSON.parse(event.data)));
  }

  private say(connected: boolean): void {
    this.connected = connected;
    this.tell({ connected });
  }

  private tell(told: Told): void {
    for (const tab of this.tabs) tab.postMessage(told);
  }
}
