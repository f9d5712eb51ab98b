import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, api } from "@/api/client";

export const filesQuery = queryOptions({
  queryKey: ["files"],
  queryFn: () => answer(api.GET("/v1/files", { params: { query: { purpose: "fine-tune", limit: 1000 } } })),
});

export const fileQuery = (id: string) =>
  queryOptions({
    queryKey: ["files", id],
    queryFn: () => answer(api.GET("/v1/files/{file_id}", { params: { path: { file_id: id } } })),
  });

export const validationQuery = (id: string) =>
  queryOptions({
    queryKey: ["files", id, "validation"],
    // The rows of a file never change.
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: () => answer(api.GET("/v1/fettle/files/{file_id}/validation", { params: { path: { file_id: id } } })),
  });

export interface RowFilter {
  contains?: string;
  bad?: boolean;
}

export const rowsQuery = (id: string, filter: RowFilter) =>
  infiniteQueryOptions({
    queryKey: ["files", id, "rows", filter],
    staleTime: Number.POSITIVE_INFINITY,
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam }) =>
      answer(
        api.GET("/v1/fettle/files/{file_id}/rows", {
          params: { path: { file_id: id }, query: { ...filter, after: pageParam, limit: 200 } },
        }),
      ),
    getNextPageParam: (page) => (page.has_more ? (page.last_id ?? undefined) : undefined),
  });

export const rowQuery = (id: string, line: number) =>
  queryOptions({
    queryKey: ["files", id, "row", line],
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async () => {
      const query = { after: `line-${line - 1}`, limit: 1 };
      const page = await answer(
        api.GET("/v1/fettle/files/{file_id}/rows", { params: { path: { file_id: id }, query } }),
      );
      return page.data[0] ?? null;
    },
  });
