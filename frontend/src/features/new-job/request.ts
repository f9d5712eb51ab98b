/** The form as the body of `POST /v1/fine_tuning/jobs`, and as text that makes exactly this job elsewhere. */
import { FIELDS } from "@/api/hyperparameters";

export type Value = string | number | boolean;

export interface Form {
  method: "reinforcement" | "supervised";
  model: string;
  training: string;
  /** Empty: `split` of the training rows is held out. */
  validation: string;
  split: number;
  /** Id of a stored grader; empty: `graderText` holds a definition. */
  grader: string;
  graderText: string;
  suffix: string;
  seed: string;
  /** Hyperparameters that are not on auto, as typed. */
  set: Record<string, string>;
}

export type Body = Record<string, unknown>;

export const EMPTY: Form = {
  method: "reinforcement",
  model: "",
  training: "",
  validation: "",
  split: 0.2,
  grader: "",
  graderText: "",
  suffix: "",
  seed: "",
  set: {},
};

/** What is missing or wrong, by field, in words. Values and ranges are the server's to judge. */
export function problemsOf(form: Form): Record<string, string> {
  const problems: Record<string, string> = {};
  if (!form.model) problems.model = "Choose a model.";
  if (!form.training) problems.training = "Choose the rows to train on.";
  if (!form.validation && !(form.split > 0 && form.split < 1)) problems.split = "A share between 0 and 1, such as 0.2.";
  if (form.seed && !/^\d+$/.test(form.seed)) problems.seed = "A whole number.";
  if (form.method === "reinforcement" && !form.grader) {
    if (!form.graderText.trim()) problems.grader = "Choose a stored grader or write one.";
    else if (parsed(form.graderText) === undefined) problems.grader = "This is not JSON.";
  }
  for (const [name, text] of Object.entries(form.set)) {
    const field = FIELDS.find((one) => one.name === name);
    if (field && readValue(field.kind, text) === undefined) {
      problems[name] = field.kind === "integer" ? "A whole number." : "A number.";
    }
  }
  return problems;
}

export function requestOf(form: Form, preflight?: string): Body {
  const hyperparameters: Record<string, Value> = {};
  for (const field of FIELDS) {
    const text = form.set[field.name];
    if (text === undefined || (form.method === "supervised" && !field.supervised)) continue;
    const value = readValue(field.kind, text);
    if (value !== undefined) hyperparameters[field.name] = field.name === "lora_rank" ? Number(value) : value;
  }
  const fettle: Body = {};
  if (!form.validation) fettle.validation_split = form.split;
  if (preflight) fettle.preflight_id = preflight;
  const inner: Body =
    form.method === "reinforcement" ? { grader: form.grader || (parsed(form.graderText) ?? null) } : {};
  if (Object.keys(hyperparameters).length) inner.hyperparameters = hyperparameters;
  return {
    model: form.model,
    training_file: form.training,
    ...(form.validation ? { validation_file: form.validation } : {}),
    ...(form.suffix ? { suffix: form.suffix } : {}),
    ...(form.seed ? { seed: Number(form.seed) } : {}),
    method: { type: form.method, [form.method]: inner },
    ...(Object.keys(fettle).length ? { fettle } : {}),
  };
}

function parsed(text: string): unknown {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function readValue(kind: (typeof FIELDS)[number]["kind"], text: string): Value | undefined {
  if (typeof kind !== "string") return text;
  if (kind === "boolean") return text === "true";
  if (kind === "integer") return /^\d+$/.test(text.trim()) ? Number(text) : undefined;
  return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined;
}

export type Language = "python" | "cli" | "curl" | "json";

/** The same job as code. The key comes from the environment: none is ever in the page. */
export function copyOf(body: Body, language: Language, origin: string): string {
  const json = JSON.stringify(body, null, 2);
  if (language === "json") return json;
  if (language === "cli")
    return `cat > job.json <<'END'\n${json}\nEND\nFETTLE_BASE_URL=${origin}/v1 fettle jobs create -c job.json`;
  if (language === "curl") {
    return (
      `curl ${origin}/v1/fine_tuning/jobs \\\n  -H "Authorization: Bearer $FETTLE_API_KEY" \\\n` +
      `  -H "Content-Type: application/json" \\\n  --data-binary @- <<'END'\n${json}\nEND`
    );
  }
  const { fettle, ...rest } = body;
  const fields = fettle ? { ...rest, extra_body: { fettle } } : rest;
  const lines = Object.entries(fields).map(([name, value]) => `    ${name}=${python(value, 1)},`);
  return (
    "import os\n\nfrom openai import OpenAI\n\n" +
    `client = OpenAI(base_url=${python(`${origin}/v1`, 0)}, api_key=os.environ["FETTLE_API_KEY"])\n` +
    `job = client.fine_tuning.jobs.create(\n${lines.join("\n")}\n)\nprint(job.id)`
  );
}

/** A JSON value as a Python literal. A JSON string is a Python one, but for the halves of characters. */
export function python(value: unknown, depth: number): string {
  const pad = "    ".repeat(depth + 1);
  const end = "    ".repeat(depth);
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) {
    return value.length ? `[\n${value.map((one) => `${pad}${python(one, depth + 1)},\n`).join("")}${end}]` : "[]";
  }
  if (typeof value === "object") {
    const entries = Object.entries(value as object);
    if (entries.length === 0) return "{}";
    return `{\n${entries.map(([name, one]) => `${pad}${JSON.stringify(name)}: ${python(one, depth + 1)},\n`).join("")}${end}}`;
  }
  return JSON.stringify(value);
}
