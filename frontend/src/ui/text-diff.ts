/** What changed between two texts, word by word. */
export interface Part {
  kind: "same" | "added" | "removed";
  text: string;
}

/** Beyond this many pairs of words the middle is taken as replaced: a reader could not follow it anyway. */
const MAX_PAIRS = 4_000_000;

export function textDiff(before: string, after: string): Part[] {
  const old = words(before);
  const fresh = words(after);
  let start = 0;
  while (start < old.length && start < fresh.length && old[start] === fresh[start]) start += 1;
  let end = 0;
  while (end < Math.min(old.length, fresh.length) - start && old.at(-1 - end) === fresh.at(-1 - end)) end += 1;
  const parts: Part[] = [];
  const add = (kind: Part["kind"], text: string) => {
    const last = parts[parts.length - 1];
    if (last?.kind === kind) last.text += text;
    else if (text) parts.push({ kind, text });
  };
  add("same", old.slice(0, start).join(""));
  middle(old.slice(start, old.length - end), fresh.slice(start, fresh.length - end), add);
  add("same", old.slice(old.length - end).join(""));
  return parts;
}

/** Words with the white space behind them, so that they join to the text again. */
function words(text: string): string[] {
  return text.match(/\S+\s*|\s+/g) ?? [];
}

/** The longest common subsequence, and what is beside it. */
function middle(
  old: readonly string[],
  fresh: readonly string[],
  add: (kind: Part["kind"], text: string) => void,
): void {
  if (old.length * fresh.length > MAX_PAIRS) {
    add("removed", old.join(""));
    add("added", fresh.join(""));
    return;
  }
  const width = fresh.length + 1;
  // common[i * width + j]: how much old[i..] and fresh[j..] have in common.
  const common = new Uint32Array((old.length + 1) * width);
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = fresh.length - 1; j >= 0; j -= 1) {
      common[i * width + j] =
        old[i] === fresh[j]
          ? common[(i + 1) * width + j + 1]! + 1
          : Math.max(common[(i + 1) * width + j]!, common[i * width + j + 1]!);
    }
  }
  let [i, j] = [0, 0];
  while (i < old.length || j < fresh.length) {
    if (i < old.length && j < fresh.length && old[i] === fresh[j]) {
      add("same", old[i]!);
      i += 1;
      j += 1;
    } else if (j === fresh.length || (i < old.length && common[(i + 1) * width + j]! >= common[i * width + j + 1]!)) {
      add("removed", old[i]!);
      i += 1;
    } else {
      add("added", fresh[j]!);
      j += 1;
    }
  }
}
