/** What a grader may name: fields of the dataset's row, and of the model's answer. */
import { createContext } from "react";

/** Columns of the dataset at hand; null while none is chosen, when any name may be right. */
export type Columns = readonly string[] | null;

export const ColumnsContext = createContext<Columns>(null);

export const SAMPLE: Record<string, string> = {
  output_text: "the answer, without its thinking",
  output_json: "the answer read as JSON",
  output_tools: "its tool calls",
  output_reasoning: "its thinking",
  choices: "the completion's choices",
};

export interface Offer {
  /** How much of the name is typed already. */
  typed: string;
  names: { name: string; says: string }[];
  /** What must stand behind the name. */
  close: string;
}

/** After `{{`: every reference that a template can make. In JSON, quotes within are escaped. */
export function offerInTemplate(before: string, columns: Columns, inJson = false): Offer | null {
  const typed = /\{\{\s*([\w.]*)$/.exec(before)?.[1];
  if (typed === undefined) return null;
  const quote = inJson ? '\\"' : '"';
  const path = (column: string) => (/^[A-Za-z_]\w*$/.test(column) ? `.${column}` : `[${quote}${column}${quote}]`);
  const items = ordered(columns).map((column) => ({ name: `item${path(column)}`, says: "of the row" }));
  const samples = Object.entries(SAMPLE).map(([field, says]) => ({ name: `sample.${field}`, says }));
  return { typed, names: [...items, ...samples], close: "}}" };
}

/** After `item["` or `sample["`: the keys of these dicts. */
export function offerInPython(before: string, columns: Columns): Offer | null {
  const found = /\b(item|sample)(\[|\.get\()(["'])([^"'\]]*)$/.exec(before);
  if (!found) return null;
  const [, owner, opening, quote = "", typed = ""] = found;
  const close = quote + (opening === "[" ? "]" : ")");
  if (owner === "item") return { typed, names: ordered(columns).map((name) => ({ name, says: "of the row" })), close };
  return { typed, names: Object.entries(SAMPLE).map(([name, says]) => ({ name, says })), close };
}

/** The question itself is seldom what a grader compares with. */
function ordered(columns: Columns): string[] {
  return [...(columns ?? [])].sort((a, b) => Number(a === "messages") - Number(b === "messages"));
}

/** Whether a template's `{{ reference }}` can lead to something in these rows. */
export function isKnown(reference: string, columns: Columns): boolean {
  const found = /^(item|sample)(?:\.([A-Za-z_]\w*)|\[\\?["']([^"'\\]+)\\?["']\])?/.exec(reference.trim());
  if (!found) return false;
  const field = found[2] ?? found[3];
  if (found[1] === "sample") return field !== undefined && field in SAMPLE;
  return field === undefined || columns === null || columns.includes(field);
}
