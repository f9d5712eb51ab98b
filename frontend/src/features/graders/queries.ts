import { queryOptions } from "@tanstack/react-query";
import { answer, api } from "@/api/client";

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
