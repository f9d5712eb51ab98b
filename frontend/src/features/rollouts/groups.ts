import { queryOptions } from "@tanstack/react-query";
import { answer, api } from "@/api/client";
import type { RolloutGroupShape } from "@/api/schema";

export function rowKeyOf(group: RolloutGroupShape): string {
  return `${group.purpose}-${group.source}-${group.row}`;
}

export type Order = "row" | "mean" | "std" | "change";

/** Groups without a graded answer come last. */
export function sorted(groups: readonly RolloutGroupShape[], order: Order): RolloutGroupShape[] {
  const worth: Record<Order, (group: RolloutGroupShape) => number | null> = {
    row: (group) => group.row ?? 0,
    mean: (group) => group.mean,
    std: (group) => (group.std === null ? null : -group.std),
    change: (group) =>
      group.first_mean === null || group.last_mean === null ? null : group.last_mean - group.first_mean,
  };
  const value = (group: RolloutGroupShape) => worth[order](group) ?? Number.POSITIVE_INFINITY;
  return [...groups].sort((a, b) => value(a) - value(b) || (a.row ?? 0) - (b.row ?? 0));
}

/** What a row asks. `row` counts from 0, lines from 1; blank lines, which no row has, would shift the two. */
export function rowTextQuery(fileId: string, row: number) {
  return queryOptions({
    queryKey: ["file-row", fileId, row],
    queryFn: async () => {
      const page = await answer(
        api.GET("/v1/fettle/files/{file_id}/rows", {
          params: { path: { file_id: fileId }, query: { after: row ? `line-${row}` : undefined, limit: 1 } },
        }),
      );
      return promptOf(page.data[0]?.value);
    },
    staleTime: Number.POSITIVE_INFINITY,
  });
}

export interface RowText {
  /** The messages, last one as it was asked. */
  messages: { role: string; text: string }[];
  /** The other fields, which the grader reads. */
  fields: [string, string][];
}

export function promptOf(value: unknown): RowText {
  const row = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const messages = Array.isArray(row.messages) ? (row.messages as Record<string, unknown>[]) : [];
  const text = (content: unknown) => (typeof content === "string" ? content : JSON.stringify(content));
  return {
    messages: messages.map((message) => ({ role: String(message.role), text: text(message.content) })),
    fields: Object.entries(row)
      .filter(([name]) => name !== "messages")
      .map(([name, field]) => [name, text(field)]),
  };
}
