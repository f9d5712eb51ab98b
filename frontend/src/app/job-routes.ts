/** What an address of the job pages may say beside its path; anything else in it is dropped. */
import { STATUSES, type Status } from "@/api/status";

type Search = Record<string, unknown>;

const text = (value: unknown) => (typeof value === "string" && value ? value : undefined);
const count = (value: unknown) => (Number.isInteger(value) && (value as number) >= 0 ? (value as number) : undefined);
const decimal = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : undefined);
const oneOf = <T extends string>(options: readonly T[], value: unknown) => options.find((option) => option === value);
const ids = (value: unknown) => {
  const found = Array.isArray(value) ? value.filter((one): one is string => typeof one === "string") : [];
  return found.length ? [...new Set(found)].slice(0, 6) : undefined;
};

export interface JobsSearch {
  status?: Status[];
  model?: string;
  text?: string;
  compare?: string[];
}

export function jobsSearch(given: Search): JobsSearch {
  const status = STATUSES.filter((one) => Array.isArray(given.status) && given.status.includes(one));
  return {
    status: status.length ? status : undefined,
    model: text(given.model),
    text: text(given.text),
    compare: ids(given.compare),
  };
}

const TABS = ["curves", "checkpoints", "events", "configuration"] as const;
const AXES = ["step", "time", "tokens"] as const;
const LEVELS = ["info", "warn", "error"] as const;

export interface JobSearch {
  tab?: (typeof TABS)[number];
  x?: (typeof AXES)[number];
  /** Weight of the past in the smoothed curves, 0 to 0.95. */
  smooth?: number;
  /** Only these steps of the curves. */
  from?: number;
  to?: number;
  level?: (typeof LEVELS)[number];
  text?: string;
}

export function jobSearch(given: Search): JobSearch {
  const smooth = decimal(given.smooth);
  const [from, to] = [count(given.from), count(given.to)];
  const within = from !== undefined && to !== undefined && from < to;
  return {
    tab: oneOf(TABS, given.tab),
    x: oneOf(AXES, given.x),
    smooth: smooth === undefined ? undefined : Math.min(0.95, Math.max(0, smooth)),
    from: within ? from : undefined,
    to: within ? to : undefined,
    level: oneOf(LEVELS, given.level),
    text: text(given.text),
  };
}

const PURPOSES = ["train", "eval", "final", "report"] as const;

export interface RolloutsSearch {
  purpose?: (typeof PURPOSES)[number];
  row?: number;
  step?: number;
  /** Show what changed since the answers of this step. */
  against?: number;
  /** Rewards from `min` on and below `max`. */
  min?: number;
  max?: number;
  failed?: true;
  text?: string;
  /** Mark the tokens that were unlikely. */
  unlikely?: true;
  sort?: "row" | "mean" | "std" | "change";
}

export function rolloutsSearch(given: Search): RolloutsSearch {
  return {
    purpose: oneOf(PURPOSES, given.purpose),
    row: count(given.row),
    step: count(given.step),
    against: count(given.against),
    min: decimal(given.min),
    max: decimal(given.max),
    failed: given.failed === true ? true : undefined,
    text: text(given.text),
    unlikely: given.unlikely === true ? true : undefined,
    sort: oneOf(["row", "mean", "std", "change"] as const, given.sort),
  };
}

export interface CompareSearch {
  ids?: string[];
  x?: (typeof AXES)[number];
  /** Ids of the two jobs that are compared prompt by prompt; left out: the first and the second. */
  baseline?: string;
  other?: string;
}

export function compareSearch(given: Search): CompareSearch {
  return { ids: ids(given.ids), x: oneOf(AXES, given.x), baseline: text(given.baseline), other: text(given.other) };
}

export interface NewJobSearch {
  /** A job to begin from: its fields fill what the address leaves out. */
  from?: string;
  method?: "reinforcement" | "supervised";
  model?: string;
  training?: string;
  validation?: string;
  split?: number;
  grader?: string;
  suffix?: string;
  seed?: number;
  /** Hyperparameters that are not on `auto`. */
  set?: Record<string, string | number | boolean>;
  preflight?: string;
}

export function newJobSearch(given: Search): NewJobSearch {
  const set = Object.entries(typeof given.set === "object" && given.set !== null ? given.set : {}).filter(
    (pair): pair is [string, string | number | boolean] => ["string", "number", "boolean"].includes(typeof pair[1]),
  );
  return {
    from: text(given.from),
    method: oneOf(["reinforcement", "supervised"] as const, given.method),
    model: text(given.model),
    training: text(given.training),
    validation: text(given.validation),
    split: decimal(given.split),
    grader: text(given.grader),
    suffix: text(given.suffix),
    seed: count(given.seed),
    set: set.length ? Object.fromEntries(set) : undefined,
    preflight: text(given.preflight),
  };
}
