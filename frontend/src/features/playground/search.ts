/** What of the playground is in its address: the models side by side, and the dataset row that is asked. */
export interface PlaygroundSearch {
  models?: string[];
  file?: string;
  line?: number;
}

export const MAX_PANES = 3;

export function playgroundSearch(raw: Record<string, unknown>): PlaygroundSearch {
  const models = Array.isArray(raw.models) ? raw.models.filter((id) => typeof id === "string").slice(0, MAX_PANES) : [];
  return {
    models: models.length > 0 ? models : undefined,
    file: typeof raw.file === "string" ? raw.file : undefined,
    line: typeof raw.line === "number" && raw.line > 0 ? raw.line : undefined,
  };
}
