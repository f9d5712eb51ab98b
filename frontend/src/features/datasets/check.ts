/** A first look at a file while it is still being sent. The server's word counts; this one comes earlier. */

export interface Early {
  numLines: number;
  numBad: number;
  /** The first of them. */
  bad: { line: number; problem: string }[];
  done: boolean;
}

const SHOWN = 3;
const ROLES = ["system", "developer", "user", "assistant", "tool"];

/** What is wrong with one line, in a few words; null where nothing is to be seen. */
export function problemOf(line: string): string | null {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    return "not valid JSON";
  }
  if (typeof row !== "object" || row === null || Array.isArray(row)) return "not an object {...}";
  const { messages } = row as { messages?: unknown };
  if (!Array.isArray(messages) || messages.length === 0) return "no list of messages";
  const wrong = messages.find((message) => !ROLES.includes((message as { role?: string } | null)?.role ?? ""));
  return wrong === undefined ? null : `a message whose role is none of ${ROLES.join(", ")}`;
}

/** Reads to the end, a piece at a time, and tells after each. */
export async function lookEarly(file: Blob, tell: (early: Early) => void, signal?: AbortSignal): Promise<Early> {
  const found: Early = { numLines: 0, numBad: 0, bad: [], done: false };
  const take = (line: string) => {
    found.numLines += 1;
    const problem = line.trim() === "" ? null : problemOf(line);
    if (problem === null) return;
    found.numBad += 1;
    if (found.bad.length < SHOWN) found.bad.push({ line: found.numLines, problem });
  };
  const reader = file.stream().getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (signal?.aborted) break;
    const lines = (rest + decoder.decode(value, { stream: !done })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) take(line);
    if (done) {
      if (rest !== "") take(rest);
      break;
    }
    tell({ ...found });
  }
  found.done = true;
  tell({ ...found });
  return found;
}
