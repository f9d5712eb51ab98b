import { notifyManager, type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";

/** When the oldest of what is on the screen and could not be refreshed is from, in ms; null where all is as it should. */
export function unrefreshedSince(client: QueryClient): number | null {
  const times = failed(client).map((query) => query.state.dataUpdatedAt);
  return times.length > 0 ? Math.min(...times) : null;
}

export function useUnrefreshed() {
  const client = useQueryClient();
  const since = useSyncExternalStore(
    (changed) => client.getQueryCache().subscribe(notifyManager.batchCalls(changed)),
    () => unrefreshedSince(client),
  );
  const retry = () => {
    for (const query of failed(client)) client.refetchQueries({ queryKey: query.queryKey, exact: true });
  };
  return { since, retry };
}

function failed(client: QueryClient) {
  const shown = client.getQueryCache().findAll({ type: "active" });
  return shown.filter(({ state }) => state.status === "error" && state.data !== undefined);
}
