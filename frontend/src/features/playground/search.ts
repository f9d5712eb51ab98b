/** What of the playground is in its address: the models side by side, what they are asked and how. */
export interface PlaygroundSearch {
  models?: string[];
  file?: string;
  line?: number;
  /** Left out while it is the row's own, or too long for an address. */
  prompt?: string;
  temperature?: number;
  /** Tokens of an answer at most. */
  tokens?: number;
  /** How many of each model. */
  answers?: number;
}

export const MAX_PANES = 3;
/** As many as the server takes. */
export const MAX_ANSWERS = 16;
export const MAX_TEMPERATURE = 2;
export const USUAL = { temperature: 0, tokens: 256, answers: 1 } as const;
const LONGEST_PROMPT = 4000;

export function playgroundSearch(raw: Record<string, unknown>): PlaygroundSearch {
  const models = Array.isArray(raw.models) ? raw.models.filter((id) => typeof id === "string").slice(0, MAX_PANES) : [];
  const { temperature } = raw;
  const isTemperature = typeof temperature === "number" && temperature >= 0 && temperature <= MAX_TEMPERATURE;
  return {
    models: models.length > 0 ? models : undefined,
    file: typeof raw.file === "string" ? raw.file : undefined,
    line: whole(raw.line),
    // An address reads a prompt that is a number as one.
    prompt: ["string", "number"].includes(typeof raw.prompt) ? addressed(String(raw.prompt)) : undefined,
    temperature: isTemperature && temperature !== USUAL.temperature ? temperature : undefined,
    tokens: whole(raw.tokens),
    answers: whole(raw.answers, MAX_ANSWERS),
  };
}

/** The prompt as the address holds it. */
export function addressed(prompt: string): string | undefined {
  return prompt && prompt.length <= LONGEST_PROMPT ? prompt : undefined;
}

function whole(value: unknown, most = Number.MAX_SAFE_INTEGER): number | undefined {
  return Number.isInteger(value) && (value as number) > 0 ? Math.min(value as number, most) : undefined;
}
