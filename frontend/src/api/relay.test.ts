import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Relay, type Source, type Told } from "./relay";

class FakeSource implements Source {
  readyState = 0;
  closed = false;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  heard: Record<string, (event: { data: string }) => void> = {};
  addEventListener(type: string, listener: (event: { data: string }) => void) {
    this.heard[type] = listener;
  }
  close() {
    this.closed = true;
  }
}

let opened: FakeSource[];
let relay: Relay;

function tab() {
  const told: Told[] = [];
  return { told, postMessage: (one: Told) => told.push(one) };
}

beforeEach(() => {
  vi.useFakeTimers();
  opened = [];
  relay = new Relay(() => {
    opened.push(new FakeSource());
    return opened.at(-1)!;
  });
});
afterEach(() => vi.useRealTimers());

test("all tabs share one stream, which closes with the last of them", () => {
  const [first, second] = [tab(), tab()];
  relay.join(first);
  relay.join(second);
  expect(opened).toHaveLength(1);
  opened[0]!.onopen!();
  opened[0]!.heard.message!({ data: '{"jobs": {"ftjob-1": "running"}}' });
  for (const one of [first, second]) {
    expect(one.told).toEqual([{ connected: true }, { jobs: { "ftjob-1": "running" } }]);
  }
  relay.leave(first);
  expect(opened[0]!.closed).toBe(false);
  relay.leave(second);
  expect(opened[0]!.closed).toBe(true);
  relay.join(first);
  expect(opened).toHaveLength(2);
});

test("a tab that comes later reads everything once, since it missed what came before", () => {
  relay.join(tab());
  opened[0]!.onopen!();
  const late = tab();
  relay.join(late);
  expect(late.told).toEqual([{ connected: true }, { reset: true }]);
});

test("tabs poll while the stream is away, and a refusal is tried again after a minute", () => {
  const one = tab();
  relay.join(one);
  opened[0]!.onopen!();
  opened[0]!.onerror!(); // torn off: the browser comes back by itself
  vi.advanceTimersByTime(120_000);
  expect(opened).toHaveLength(1);
  opened[0]!.onopen!();
  opened[0]!.heard.reset!({ data: "{}" });
  opened[0]!.readyState = 2;
  opened[0]!.onerror!();
  expect(one.told).toEqual([
    { connected: true },
    { connected: false },
    { connected: true },
    { reset: true },
    { connected: false },
  ]);
  vi.advanceTimersByTime(59_000);
  expect(opened).toHaveLength(1);
  vi.advanceTimersByTime(1_000);
  expect(opened).toHaveLength(2);
});

test("a refused stream without tabs is not tried again", () => {
  const one = tab();
  relay.join(one);
  opened[0]!.readyState = 2;
  opened[0]!.onerror!();
  relay.leave(one);
  vi.advanceTimersByTime(120_000);
  expect(opened).toHaveLength(1);
});
