/** People's ratings as text: JSON Lines with `item`, `text` and `label`, or a table whose other columns are the item. */

export interface Rated {
  item: Record<string, unknown>;
  text: string;
  label: number;
}

export interface Ratings {
  answers: Rated[];
  /** Lines that are none, with what was expected. */
  problems: string[];
}

export function parseRatings(text: string): Ratings {
  const found: Ratings = { answers: [], problems: [] };
  if (text.trim() === "") return found;
  if (text.trimStart().startsWith("{")) {
    text.split("\n").forEach((line, index) => {
      if (line.trim()) add(found, index + 1, fromJson(line));
    });
    return found;
  }
  const [head, ...rows] = parseTable(text);
  const names = head!.cells.map((name) => name.trim());
  if (!names.includes("text") || !names.includes("label")) {
    found.problems.push(
      `The first line names the columns; expected text and label among them, found ${names.join(", ")}.`,
    );
    return found;
  }
  for (const { line, cells } of rows) {
    const values = Object.fromEntries(names.map((name, at) => [name, cells[at] ?? ""]));
    const { text: answer, label, ...item } = values;
    add(found, line, { item, text: answer, label: label?.trim() === "" ? undefined : Number(label) });
  }
  return found;
}

/** A row of a dataset whose columns hold the answer and its rating. */
export function ratedRow(row: Record<string, unknown> | null, text: string, label: string): unknown {
  const rating = row?.[label];
  return { item: row ?? {}, text: row?.[text], label: typeof rating === "boolean" ? Number(rating) : rating };
}

export function add(found: Ratings, line: number, one: unknown): void {
  const rated = one as Partial<Rated> | undefined;
  if (typeof rated !== "object" || rated === null) found.problems.push(`Line ${line} is not JSON.`);
  else if (typeof rated.text !== "string") found.problems.push(`Line ${line} has no text: the answer that was rated.`);
  else if (typeof rated.label !== "number" || !Number.isFinite(rated.label)) {
    found.problems.push(`Line ${line} has no label: expected a number, higher is better.`);
  } else if (typeof (rated.item ?? {}) !== "object") found.problems.push(`Line ${line}: item is not an object.`);
  else found.answers.push({ item: rated.item ?? {}, text: rated.text, label: rated.label });
}

function fromJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

interface TableRow {
  line: number;
  cells: string[];
}

/** Comma- or tab-separated values; a cell in double quotes may hold both, line ends and doubled quotes. */
export function parseTable(text: string): TableRow[] {
  const separator = text.split("\n", 1)[0]!.includes("\t") ? "\t" : ",";
  const rows: TableRow[] = [];
  let row: TableRow = { line: 1, cells: [] };
  let cell = "";
  let quoted = false;
  let line = 1;
  const endRow = () => {
    row.cells.push(cell);
    if (row.cells.some((one) => one !== "")) rows.push(row);
    row = { line: line + 1, cells: [] };
    cell = "";
  };
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at]!;
    if (quoted) {
      if (char === '"' && text[at + 1] === '"') at += 1;
      else if (char === '"') {
        quoted = false;
        continue;
      }
      cell += char;
    } else if (char === '"' && cell === "") quoted = true;
    else if (char === separator) {
      row.cells.push(cell);
      cell = "";
    } else if (char === "\n") endRow();
    else if (char !== "\r") cell += char;
    if (char === "\n") line += 1;
  }
  line += 1;
  endRow();
  return rows;
}
