import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { afterEach, expect, test, vi } from "vitest";
import { Refresher } from "./refresh";

const client = new QueryClient();
let stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops) stop();
  stops = [];
  client.clear();
  vi.restoreAllMocks();
});

/** A query on the screen; gives how often it was asked. */
function shown(key: string[], options: object = { refetchInterval: () => 60_000 }) {
  const ask = vi.fn(async () => ask.mock.calls.length);
  const observer = new QueryObserver(client, { queryKey: key, queryFn: ask, ...options });
  stops.push(observer.subscribe(() => {}));
  return ask;
}

test("a hint refreshes what follows its job, and lists", async () => {
  const mine = shown(["job", "ftjob-1", "metrics"]);
  const other = shown(["job", "ftjob-2"]);
  const list = shown(["jobs"]);
  const still = shown(["job", "ftjob-1", "rollouts"], {});
  await vi.waitFor(() => expect(client.isFetching()).toBe(0));
  new Refresher(client, 0).refresh(["ftjob-1"]);
  await vi.waitFor(() => expect(list).toHaveBeenCalledTimes(2));
  expect([mine, other, still].map((one) => one.mock.calls.length)).toEqual([2, 1, 1]);
});

test("a reset refreshes all that follows something", async () => {
  const jobs = [shown(["job", "ftjob-1"]), shown(["job", "ftjob-2"])];
  await vi.waitFor(() => expect(client.isFetching()).toBe(0));
  new Refresher(client, 0).refresh();
  await vi.waitFor(() => expect(jobs.map((one) => one.mock.calls.length)).toEqual([2, 2]));
});

test("hints during a round make one further round, however many they are", async () => {
  const ends: (() => void)[] = [];
  const refetchQueries = vi.fn(() => new Promise<void>((resolve) => ends.push(resolve)));
  const refresher = new Refresher({ refetchQueries }, 0);
  for (const id of ["ftjob-1", "ftjob-2", "ftjob-1"]) refresher.refresh([id]);
  expect(refetchQueries).toHaveBeenCalledTimes(1);
  ends[0]!();
  await vi.waitFor(() => expect(refetchQueries).toHaveBeenCalledTimes(2));
  ends[1]!();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(refetchQueries).toHaveBeenCalledTimes(2);
});

test("a hidden tab asks for nothing until it is seen again", async () => {
  const refetchQueries = vi.fn(async () => {});
  const refresher = new Refresher({ refetchQueries }, 0);
  const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
  refresher.refresh(["ftjob-1"]);
  refresher.refresh(["ftjob-2"]);
  expect(refetchQueries).not.toHaveBeenCalled();
  hidden.mockReturnValue(false);
  await refresher.resume();
  expect(refetchQueries).toHaveBeenCalledTimes(1);
});
