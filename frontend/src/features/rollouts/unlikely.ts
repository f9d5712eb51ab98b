/** Which stretches of an answer were unlikely when they were drawn. Pure: a rollout with its tokens in, pieces out. */
import type { RolloutShape } from "@/api/schema";

/** Below these probabilities a token has level 1, 2 and 3; level 0 is not marked. */
export const BOUNDS = [0.5, 0.2, 0.05] as const;

export interface Piece {
  text: string;
  level: number;
  /** Of a single token; neighbours that are not marked make one piece without. */
  probability?: number;
}

type Tokens = Pick<RolloutShape, "reasoning" | "text" | "logprobs" | "token_chars">;

/** Null: it is not known which token wrote what. */
export function unlikely({
  reasoning,
  text,
  logprobs,
  token_chars,
}: Tokens): Record<"reasoning" | "text", Piece[]> | null {
  if (!logprobs || !token_chars) return null;
  const parts = { reasoning: [...(reasoning ?? "")], text: [...text] };
  const found: Record<"reasoning" | "text", Piece[]> = { reasoning: [], text: [] };
  let at = 0;
  for (const [index, length] of token_chars.entries()) {
    if (length === 0) continue;
    const part = at < parts.reasoning.length ? "reasoning" : "text";
    const start = part === "text" ? at - parts.reasoning.length : at;
    add(found[part], parts[part].slice(start, start + length).join(""), Math.exp(logprobs[index] ?? 0));
    at += length;
  }
  return found;
}

function add(pieces: Piece[], text: string, probability: number): void {
  const level = BOUNDS.filter((bound) => probability < bound).length;
  const last = pieces[pieces.length - 1];
  if (level > 0) pieces.push({ text, level, probability });
  else if (last?.level === 0) last.text += text;
  else pieces.push({ text, level });
}
