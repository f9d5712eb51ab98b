/** What a form for each kind of grader asks. The server checks; this only says what there is. */

export type Definition = Record<string, unknown>;

export type Field = { name: string; label: string; hint?: string; optional?: boolean } & (
  | { kind: "text" | "template" | "number" | "python" | "json" | "lines" | "model" | "messages" | "graders" | "flag" }
  | { kind: "choice"; choices: readonly string[]; words?: Record<string, string> }
);

export interface Kind {
  type: string;
  says: string;
  fields: readonly Field[];
  /** A definition to begin with. */
  example: Definition;
}

const OUTPUT = "{{sample.output_text}}";
const INPUT: Field = { name: "input", label: "What is graded", kind: "template" };
const INPUT_OPTIONAL: Field = { ...INPUT, optional: true, hint: `${OUTPUT} when left out` };
const REFERENCE: Field = { name: "reference", label: "Compared with", kind: "template" };
const THRESHOLD: Field = {
  name: "pass_threshold",
  label: "Pass mark",
  kind: "number",
  optional: true,
  hint: "For counting passes; training uses the score itself",
};
const JUDGE: readonly Field[] = [
  { name: "model", label: "Judge", kind: "model" },
  { name: "input", label: "What the judge is told", kind: "messages" },
];
const REWARD_MODEL: Field = {
  name: "model",
  label: "Reward model",
  kind: "text",
  hint: "Its name in the operator's catalogue",
};
const PROMPT: Field = {
  name: "prompt",
  label: "The question",
  kind: "template",
  optional: true,
  hint: "{{item.messages}} when left out",
};
const OPERATIONS = {
  eq: "eq: be equal, letter by letter",
  ne: "ne: be different",
  like: "like: contain it",
  ilike: "ilike: contain it, in upper or lower case",
};
const METRICS = [
  "fuzzy_match",
  "bleu",
  "gleu",
  "meteor",
  "rouge_1",
  "rouge_2",
  "rouge_3",
  "rouge_4",
  "rouge_5",
  "rouge_l",
];
const PYTHON = `def grade(sample, item):
    """A number for one answer; higher is better.

    sample["output_text"] is the answer, item the dataset row.
    """
    return 1.0 if sample["output_text"].strip() == item["answer"] else 0.0
`;

export const KINDS: readonly Kind[] = [
  {
    type: "string_check",
    says: "1 or 0, by comparing two texts",
    fields: [
      INPUT,
      { name: "operation", label: "Must", kind: "choice", choices: ["eq", "ne", "like", "ilike"], words: OPERATIONS },
      REFERENCE,
    ],
    example: { type: "string_check", input: OUTPUT, operation: "eq", reference: "{{item.answer}}" },
  },
  {
    type: "text_similarity",
    says: "0 to 1, how close two texts are",
    fields: [
      INPUT,
      { name: "evaluation_metric", label: "Measure", kind: "choice", choices: METRICS },
      REFERENCE,
      THRESHOLD,
    ],
    example: { type: "text_similarity", input: OUTPUT, evaluation_metric: "fuzzy_match", reference: "{{item.answer}}" },
  },
  {
    type: "math",
    says: "1 or 0, whether two answers are equal as mathematics",
    fields: [REFERENCE, INPUT_OPTIONAL],
    example: { type: "math", reference: "{{item.answer}}" },
  },
  {
    type: "json_schema",
    says: "1 or 0, whether the answer is JSON of a given form",
    fields: [{ name: "json_schema", label: "Schema", kind: "json" }, INPUT_OPTIONAL],
    example: {
      type: "json_schema",
      json_schema: { type: "object", properties: { answer: { type: "string" } }, required: ["answer"] },
    },
  },
  {
    type: "regex",
    says: "1 or 0, whether a pattern matches and captures the right text",
    fields: [
      { name: "pattern", label: "Pattern", kind: "text", hint: "RE2: no look-around, no back-references" },
      { name: "match", label: "Where", kind: "choice", choices: ["search", "fullmatch"] },
      { ...REFERENCE, label: "What it captures must equal", optional: true },
      { name: "group", label: "Group", kind: "text", optional: true },
      INPUT_OPTIONAL,
    ],
    example: { type: "regex", pattern: "(?s).*#### (-?\\d+)", match: "search", reference: "{{item.answer}}" },
  },
  {
    type: "format",
    says: "0 to 1, the share of simple rules that are kept",
    fields: [
      { name: "boxed", label: "Has a \\boxed{} that is not empty", kind: "flag" },
      { name: "min_chars", label: "At least characters", kind: "number", optional: true },
      { name: "max_chars", label: "At most characters", kind: "number", optional: true },
      { name: "min_words", label: "At least words", kind: "number", optional: true },
      { name: "max_words", label: "At most words", kind: "number", optional: true },
      { name: "required", label: "Must contain", kind: "lines", optional: true, hint: "One text a line" },
      { name: "forbidden", label: "Must not contain", kind: "lines", optional: true, hint: "One text a line" },
      INPUT_OPTIONAL,
    ],
    example: { type: "format", max_words: 200 },
  },
  {
    type: "python",
    says: "what your own function returns, run in a sandbox",
    fields: [{ name: "source", label: "Function", kind: "python" }, THRESHOLD],
    example: { type: "python", source: PYTHON },
  },
  {
    type: "code",
    says: "the share of tests that a program of the model's passes, run in a sandbox",
    fields: [
      { name: "tests", label: "Tests", kind: "json", hint: 'A list, or a template in quotes such as "{{item.tests}}"' },
      { name: "scoring", label: "Score", kind: "choice", choices: ["share", "all"] },
      { name: "timeout_s", label: "Seconds for each test", kind: "number", optional: true },
      INPUT_OPTIONAL,
    ],
    example: { type: "code", tests: "{{item.tests}}", scoring: "share" },
  },
  {
    type: "score_model",
    says: "the number a judge model answers",
    fields: [
      ...JUDGE,
      { name: "range", label: "Range", kind: "json", optional: true, hint: "[lowest, highest]; [0, 1] when left out" },
      THRESHOLD,
    ],
    example: {
      type: "score_model",
      model: "",
      input: [
        { role: "developer", content: "Rate from 0 to 1 how well the answer fits the question." },
        { role: "user", content: `Question: {{item.question}}\nAnswer: ${OUTPUT}` },
      ],
      range: [0, 1],
    },
  },
  {
    type: "label_model",
    says: "1 or 0, by the label a judge model chooses",
    fields: [
      ...JUDGE,
      { name: "labels", label: "Labels", kind: "lines", hint: "One a line" },
      { name: "passing_labels", label: "Labels that pass", kind: "lines", hint: "One a line" },
    ],
    example: {
      type: "label_model",
      model: "",
      input: [{ role: "user", content: `Is this polite? ${OUTPUT}` }],
      labels: ["polite", "rude"],
      passing_labels: ["polite"],
    },
  },
  {
    type: "reward_model",
    says: "the number a reward model of this server's operator gives",
    fields: [
      REWARD_MODEL,
      { name: "activation", label: "Made of it", kind: "choice", choices: ["sigmoid", "none"] },
      PROMPT,
      INPUT_OPTIONAL,
    ],
    example: { type: "reward_model", model: "", activation: "sigmoid" },
  },
  {
    type: "process",
    says: "0 to 1, what a reward model gives to each step of the answer, made one number",
    fields: [
      REWARD_MODEL,
      { name: "aggregate", label: "Made one by", kind: "choice", choices: ["min", "product", "last"] },
      { name: "max_steps", label: "Steps at most", kind: "number", optional: true },
      PROMPT,
      INPUT_OPTIONAL,
    ],
    example: { type: "process", model: "", aggregate: "min" },
  },
  {
    type: "endpoint",
    says: "what your own service answers",
    fields: [
      { name: "url", label: "Address", kind: "text", hint: "https, reachable on the public internet" },
      { name: "headers", label: "Headers", kind: "json", optional: true },
      { name: "rate_limit", label: "Calls a second at most", kind: "number", optional: true },
      THRESHOLD,
    ],
    example: { type: "endpoint", url: "https://" },
  },
  {
    type: "majority",
    says: "1 for the answers most of a group agree on: for rows without a reference",
    fields: [
      { name: "answer", label: "Answers are", kind: "choice", choices: ["math", "text"] },
      { name: "canary", label: "Known answer of some rows", kind: "template", optional: true },
      INPUT_OPTIONAL,
    ],
    example: { type: "majority", answer: "math" },
  },
  {
    type: "multi",
    says: "a formula over other graders",
    fields: [
      { name: "graders", label: "Graders", kind: "graders" },
      {
        name: "calculate_output",
        label: "Formula",
        kind: "text",
        hint: "+ - * / ^ ( ) min max abs floor ceil exp sqrt log",
      },
      {
        name: "outcome",
        label: "True outcome",
        kind: "text",
        optional: true,
        hint: "Name of one of them; partial credit counts only where it succeeds",
      },
    ],
    example: {
      type: "multi",
      graders: {
        right: { type: "string_check", input: OUTPUT, operation: "eq", reference: "{{item.answer}}" },
        short: { type: "format", max_words: 50 },
      },
      calculate_output: "0.9 * right + 0.1 * right * short",
    },
  },
];

export function kindOf(definition: Definition): Kind | undefined {
  return KINDS.find((kind) => kind.type === definition.type);
}

/** The definition with a field set, or without it when there is nothing to set. */
export function withField(definition: Definition, name: string, value: unknown): Definition {
  const { [name]: _, ...rest } = definition;
  const isNothing =
    value === undefined || value === "" || value === false || (Array.isArray(value) && value.length === 0);
  return isNothing ? rest : { ...rest, [name]: value };
}

/** Where a template reads from the row: `{{item.answer}}` -> `answer`. */
export function itemFields(definition: unknown): string[] {
  const found = new Set<string>();
  for (const match of JSON.stringify(definition ?? "").matchAll(/\{\{\s*item\.([A-Za-z_]\w*)/g)) found.add(match[1]!);
  return [...found];
}

/** A template that writes the right answer, guessed from what the grader compares with. */
export function guessedGold(definition: Definition): string {
  if (typeof definition.reference === "string") return definition.reference;
  const [field] = itemFields(definition);
  return field ? `{{item.${field}}}` : "";
}
