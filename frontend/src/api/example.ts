/** The demo's rows and grader, so that a newcomer has something to begin with. Made once; again finds what is there. */
import grader from "../../../examples/demo/grader.json";
import training from "../../../examples/demo/train.jsonl?raw";
import validation from "../../../examples/demo/validation.jsonl?raw";
import { answer, api } from "./client";
import type { FileObject } from "./schema";
import { uploadFile } from "./upload";

const GRADER_NAME = "example: exact answer";

export interface Example {
  training: string;
  validation: string;
  grader: string;
}

export async function loadExample(): Promise<Example> {
  const known = await answer(api.GET("/v1/files", { params: { query: { purpose: "fine-tune", limit: 1000 } } }));
  return {
    training: await fileOf(known.data, "example-train.jsonl", training),
    validation: await fileOf(known.data, "example-validation.jsonl", validation),
    grader: await graderOf(),
  };
}

async function fileOf(known: readonly FileObject[], name: string, text: string): Promise<string> {
  const file = new File([text], name);
  const found = known.find((one) => one.filename === name && one.bytes === file.size && one.status === "processed");
  return (found ?? (await uploadFile(file, () => {}))).id;
}

async function graderOf(): Promise<string> {
  const known = await answer(api.GET("/v1/fettle/graders", { params: { query: { limit: 100 } } }));
  const found = known.data.find((one) => one.name === GRADER_NAME);
  const note = "Right if the answer is exactly the row's.";
  const body = { name: GRADER_NAME, grader: grader as never, note };
  return (found ?? (await answer(api.POST("/v1/fettle/graders", { body })))).newest.id;
}
