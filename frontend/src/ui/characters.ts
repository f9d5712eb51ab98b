/**
 * Model output is untrusted. React never takes it for HTML; what is left are characters that hide or reorder text.
 * They are shown by their code point instead of being obeyed.
 */
const ODD =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]/gu;

export interface Piece {
  text: string;
  /** True for one odd character, whose code point `text` names. */
  odd: boolean;
}

export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(ODD)) {
    // A joiner between two emoji belongs to them.
    if (match[0] === "\u200d" && isEmoji(text, match.index - 1) && isEmoji(text, match.index + 1)) continue;
    // The second half of a line end.
    if (match[0] === "\r" && text[match.index + 1] === "\n") {
      if (match.index > end) found.push({ text: text.slice(end, match.index), odd: false });
      end = match.index + 1;
      continue;
    }
    if (match.index > end) found.push({ text: text.slice(end, match.index), odd: false });
    found.push({ text: codePoint(match[0]), odd: true });
    end = match.index + match[0].length;
  }
  if (end < text.length) found.push({ text: text.slice(end), odd: false });
  return found;
}

function codePoint(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}

function isEmoji(text: string, index: number): boolean {
  const start = index > 0 && /[\udc00-\udfff]/.test(text[index] ?? "") ? index - 1 : index;
  const point = text.codePointAt(start);
  return point !== undefined && /\p{Extended_Pictographic}|\ufe0f/u.test(String.fromCodePoint(point));
}
