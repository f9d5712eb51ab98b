import { QueryCache, QueryClient, queryOptions } from "@tanstack/react-query";
import { answer, api } from "./client";
import { ApiError, mayPass } from "./errors";
import { chooseProject } from "./project";

export const sessionQuery = queryOptions({
  queryKey: ["session"],
  queryFn: async () => {
    try {
      return await answer(api.GET("/v1/fettle/session"));
    } catch (error) {
      // The chosen project is gone, or was another person's: begin again with the first one.
      if (!(error instanceof ApiError) || error.status !== 403) throw error;
      chooseProject(null);
      return answer(api.GET("/v1/fettle/session"));
    }
  },
  staleTime: 5 * 60_000,
});

export function createQueryClient(): QueryClient {
  const client: QueryClient = new QueryClient({
    queryCache: new QueryCache({
      onError: (error) => {
        if (error instanceof ApiError && error.status === 401) client.invalidateQueries(sessionQuery);
      },
    }),
    defaultOptions: {
      // The server may well be this machine, which is there when the network is not.
      mutations: { networkMode: "always" },
      queries: {
        networkMode: "always",
        retry: (count, error) => count < 2 && mayPass(error),
        staleTime: 2_000,
        // What is on the screen changes by polling or by what the reader does, never because a window came forward.
        refetchOnWindowFocus: false,
      },
    },
  });
  return client;
}
