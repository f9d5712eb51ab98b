import { queryOptions } from "@tanstack/react-query";
import { answer, api } from "./client";

/** The columns of a dataset; none while nothing is chosen. */
export const columnsQuery = (file: string | null) =>
  queryOptions({
    queryKey: ["files", file, "columns"],
    enabled: file !== null,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async () => {
      const params = { path: { file_id: file! } };
      const report = await answer(api.GET("/v1/fettle/files/{file_id}/validation", { params }));
      return Object.keys(report.statistics.columns as Record<string, unknown>);
    },
  });
