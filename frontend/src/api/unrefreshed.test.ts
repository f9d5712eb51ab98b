import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { expect, test, vi } from "vitest";
import { unrefreshedSince } from "./unrefreshed";

test("what is shown and could not be refreshed is known by its age; what never came, or is not shown, is not", async () => {
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  const gone = async () => {
    throw new Error("gone");
  };
  const show = (key: string, data?: { at: number }) => {
    if (data) client.setQueryData([key], "old", { updatedAt: data.at });
    const observer = new QueryObserver(client, { queryKey: [key], queryFn: gone });
    return observer.subscribe(() => {});
  };
  const stops = [show("older", { at: 1_000 }), show("newer", { at: 2_000 }), show("never came")];
  await vi.waitFor(() => expect(client.isFetching()).toBe(0));
  expect(unrefreshedSince(client)).toBe(1_000);
  stops[0]?.();
  expect(unrefreshedSince(client)).toBe(2_000);
  client.setQueryData(["newer"], "here");
  expect(unrefreshedSince(client)).toBeNull();
});
