import { expect, test } from "vitest";
import type { FileObject, JobShape } from "@/api/schema";
import { checklist, lead, needsYou, outcome, running } from "./state";

function job(part: Partial<JobShape>, fettle: Partial<JobShape["fettle"]> = {}): JobShape {
  const facts = { verdict: null, selection: null, preflight_id: null, ...fettle };
  return {
    id: "ftjob-1",
    status: "running",
    created_at: 0,
    finished_at: null,
    error: null,
    ...part,
    fettle: facts,
  } as JobShape;
}

const DAY = 86_400;

test("jobs that may still change are running; paused ones are not", () => {
  const jobs = (["queued", "running", "pausing", "paused", "succeeded"] as const).map((status) => job({ status }));
  expect(running(jobs).map((one) => one.status)).toEqual(["queued", "running", "pausing"]);
});

test("the lead says what runs, else what the last job gained", () => {
  expect(lead([job({}), job({ status: "queued" })])).toBe("2 jobs on the way.");
  const improved = job({ status: "succeeded" }, { verdict: "improved", selection: { gain: 0.4475 } });
  expect(lead([improved])).toBe("Nothing is running. The last job gained +0.448.");
  expect(lead([])).toMatch(/^Bring questions/);
});

test("an outcome is its gain with the interval, or the state", () => {
  const selection = { gain: 0.4475, gain_low: 0.3967, gain_high: 0.4983 };
  expect(outcome(job({ status: "succeeded" }, { verdict: "improved", selection }))).toBe(
    "gained +0.448 (+0.397 to +0.498)",
  );
  expect(outcome(job({ status: "succeeded" }, { verdict: "no_measurable_gain", selection }))).toBe(
    "no measurable gain",
  );
  expect(outcome(job({ status: "cancelled" }))).toBe("cancelled");
});

test("a failure needs somebody for three days, a pause until it is resumed", () => {
  const error = { code: "x", message: "Every reward was 0.", param: null };
  const failed = job({ status: "failed", finished_at: 10 * DAY, error });
  const paused = job({ status: "paused" });
  expect(needsYou([failed, paused], 11 * DAY).map((need) => need.why)).toEqual([
    "Every reward was 0.",
    "Paused; it goes on from its newest checkpoint when you resume it.",
  ]);
  expect(needsYou([failed], 14 * DAY)).toEqual([]);
});

const NOTHING = { files: [], graders: [], baseModels: [], preflights: [], jobs: [] };
const GRADER = { newest: { id: "gradr-1" } };

test("a step of the checklist chooses what there is one of, and leaves to choose among several", () => {
  const file = { id: "file-1", status: "processed" } as const;
  const asked = (facts: Partial<Parameters<typeof checklist>[0]>) =>
    checklist({ ...NOTHING, baseModels: ["tiny"], ...facts }).map((step) => step.search);
  expect(asked({ files: [file], graders: [] })[1]).toEqual({ file: "file-1" });
  const broken = { id: "file-2", status: "error" } as const;
  const one = { model: "tiny", training: "file-1", grader: "gradr-1" };
  expect(asked({ files: [broken, file], graders: [GRADER] }).slice(1)).toEqual([undefined, one, one]);
  const several = asked({
    files: [file, { ...file, id: "file-3" }],
    graders: [GRADER, GRADER],
    baseModels: ["a", "b"],
  });
  expect(Object.values(several[2]!).filter(Boolean)).toEqual([]);
});

test("the checklist is ticked by what is there", () => {
  const bad = { status: "error" } as FileObject;
  const good = { status: "processed" } as FileObject;
  const done = (facts: Partial<Parameters<typeof checklist>[0]>) =>
    checklist({ ...NOTHING, ...facts }).map((step) => step.done);
  expect(done({ files: [bad], graders: [], jobs: [] })).toEqual([false, false, false, false]);
  expect(done({ files: [good], graders: [GRADER], jobs: [] })).toEqual([true, true, false, false]);
  expect(done({ files: [good], graders: [GRADER], preflights: [{ status: "succeeded" }] })).toEqual([
    true,
    true,
    true,
    false,
  ]);
  expect(done({ files: [good], graders: [GRADER], preflights: [{ status: "running" }] })[2]).toBe(false);
  expect(done({ files: [good], graders: [GRADER], jobs: [job({ status: "succeeded" })] })).toEqual([
    true,
    true,
    true,
    true,
  ]);
});
