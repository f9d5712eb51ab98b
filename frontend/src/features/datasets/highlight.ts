const SHOWN = 600;

/**
 * A line in three pieces, the middle one being what a problem names; cut to what is around it.
 *
 *   around('{"role": "usr"}', "'usr'") -> ['{"role": ', '"usr"', '}']
 */
export function around(raw: string, found: string): [string, string, string] {
  const bare = found.replace(/^'(.*)'$/s, "$1").replace(/\.\.\.$/, "");
  const spellings = [JSON.stringify(bare), bare];
  for (const spelling of spellings) {
    const start = bare ? raw.indexOf(spelling) : -1;
    if (start < 0) continue;
    const end = start + spelling.length;
    const from = Math.max(0, start - SHOWN / 2);
    return [
      (from > 0 ? "…" : "") + raw.slice(from, start),
      raw.slice(start, end),
      raw.slice(end, end + SHOWN / 2) + (raw.length > end + SHOWN / 2 ? "…" : ""),
    ];
  }
  return [raw.length > SHOWN ? `${raw.slice(0, SHOWN)}…` : raw, "", ""];
}
