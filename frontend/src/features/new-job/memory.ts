/** Where the form comes from and goes to: the address, another job, and this tab's memory for the grader's text. */
import { FIELDS } from "@/api/hyperparameters";
import type { JobShape } from "@/api/schema";
import type { NewJobSearch } from "@/app/job-routes";
import { type Body, EMPTY, type Form } from "./request";

const DRAFT = "fettle-grader-draft";
const BODY = "fettle-preflight-";

export function formOf(search: NewJobSearch, job: JobShape | undefined): Form {
  const from = job ? ofJob(job) : { ...EMPTY, graderText: sessionStorage.getItem(DRAFT) ?? "" };
  const set =
    search.set && Object.fromEntries(Object.entries(search.set).map(([name, value]) => [name, String(value)]));
  return {
    ...from,
    method: search.method ?? from.method,
    model: search.model ?? from.model,
    training: search.training ?? from.training,
    validation: search.validation ?? from.validation,
    split: search.split ?? from.split,
    grader: search.grader ?? from.grader,
    suffix: search.suffix ?? from.suffix,
    seed: search.seed === undefined ? from.seed : String(search.seed),
    set: set ?? from.set,
  };
}

/** Everything that was asked for, but for the seed and the preflight: those belong to one run. */
function ofJob(job: JobShape): Form {
  const method = job.method.type as Form["method"];
  const body = (job.method as Record<string, { grader?: unknown }>)[method];
  const asked = job.fettle.requested;
  const set = FIELDS.filter(
    (field) => field.name in asked && asked[field.name] !== "auto" && asked[field.name] !== "default",
  );
  return {
    method,
    model: job.model,
    training: job.training_file,
    validation: job.validation_file ?? "",
    split: job.fettle.validation_split ?? EMPTY.split,
    grader: job.fettle.grader_version ?? "",
    graderText: body?.grader ? JSON.stringify(body.grader, null, 2) : "",
    suffix: job.user_provided_suffix ?? "",
    seed: "",
    set: Object.fromEntries(set.map((field) => [field.name, String(asked[field.name])])),
  };
}

/** A long text does not belong into an address: the grader's is kept for this tab. */
export function searchOf(form: Form): NewJobSearch {
  sessionStorage.setItem(DRAFT, form.graderText);
  return {
    method: form.method === "supervised" ? "supervised" : undefined,
    model: form.model || undefined,
    training: form.training || undefined,
    validation: form.validation || undefined,
    split: form.validation || form.split === EMPTY.split ? undefined : form.split,
    grader: form.grader || undefined,
    suffix: form.suffix || undefined,
    seed: /^\d+$/.test(form.seed) ? Number(form.seed) : undefined,
    set: Object.keys(form.set).length ? form.set : undefined,
  };
}

/** Of which job a preflight was made, to see whether the form still says the same. */
export function rememberBody(preflight: string, body: Body): void {
  sessionStorage.setItem(BODY + preflight, JSON.stringify(body));
}

export function rememberedBody(preflight: string): string | null {
  return sessionStorage.getItem(BODY + preflight);
}
