import { queryOptions } from "@tanstack/react-query";
import { answer, api } from "@/api/client";
import type { FileRow } from "@/api/schema";

export const gradersQuery = queryOptions({
  queryKey: ["graders"],
  queryFn: () => answer(api.GET("/v1/fettle/graders", { params: { query: { limit: 100 } } })),
});

export const graderQuery = (id: string) =>
  queryOptions({
    queryKey: ["graders", id],
    enabled: id !== "new",
    queryFn: () => answer(api.GET("/v1/fettle/graders/{grader_id}", { params: { path: { grader_id: id } } })),
  });

export const versionsQuery = (id: string) =>
  queryOptions({
    queryKey: ["graders", id, "versions"],
    queryFn: () =>
      answer(
        api.GET("/v1/fettle/graders/{grader_id}/versions", {
          params: { path: { grader_id: id }, query: { limit: 100 } },
        }),
      ),
  });

export const filesQuery = queryOptions({
  queryKey: ["files"],
  queryFn: () => answer(api.GET("/v1/files", { params: { query: { purpose: "fine-tune", limit: 1000 } } })),
});

/** One row of a dataset, or null behind its end; none while nothing is chosen. */
export const rowQuery = (file: string | null, line: number) =>
  queryOptions({
    queryKey: ["files", file, "row", line],
    enabled: file !== null,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async () => {
      const params = { path: { file_id: file! }, query: { after: `line-${line - 1}`, limit: 1 } };
      return (await answer(api.GET("/v1/fettle/files/{file_id}/rows", { params }))).data[0] ?? null;
    },
  });

/** The first rows of a dataset. */
export async function readRows(file: string, limit: number) {
  const rows: FileRow[] = [];
  let after: string | undefined;
  let hasMore = true;
  while (hasMore && rows.length < limit) {
    const query = { after, limit: Math.min(200, limit - rows.length) };
    const page: { data: FileRow[]; has_more: boolean; last_id: string | null } = await answer(
      api.GET("/v1/fettle/files/{file_id}/rows", { params: { path: { file_id: file }, query } }),
    );
    rows.push(...page.data);
    after = page.last_id ?? undefined;
    hasMore = page.has_more;
  }
  return rows;
}

/** Reinforcement jobs that have made a step: those have stored answers. */
export const gradedJobsQuery = queryOptions({
  queryKey: ["jobs", "graded"],
  queryFn: async () => {
    const page = await answer(api.GET("/v1/fine_tuning/jobs", { params: { query: { limit: 100 } } }));
    return page.data.filter((job) => job.method.type === "reinforcement" && job.fettle.step > 0);
  },
});
