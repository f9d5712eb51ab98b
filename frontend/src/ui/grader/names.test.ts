import { expect, test } from "vitest";
import { isKnown, offerInPython, offerInTemplate } from "./names";

const COLUMNS = ["messages", "answer", "unit price"];
const names = (offer: ReturnType<typeof offerInTemplate>) => offer?.names.map((one) => one.name);

test("a template is offered the row's columns and the parts of an answer, once a reference is opened", () => {
  expect(offerInTemplate("The answer", COLUMNS)).toBeNull();
  expect(offerInTemplate("{{item.answer}} and", COLUMNS)).toBeNull();
  const offer = offerInTemplate("is {{ item.an", COLUMNS);
  expect(offer?.typed).toBe("item.an");
  expect(names(offer)).toEqual([
    "item.answer",
    'item["unit price"]',
    "item.messages",
    "sample.output_text",
    "sample.output_json",
    "sample.output_tools",
    "sample.output_reasoning",
    "sample.choices",
  ]);
  expect(names(offerInTemplate('"reference": "{{', ["unit price"], true))?.[0]).toBe('item[\\"unit price\\"]');
  expect(names(offerInTemplate("{{", null))?.[0]).toBe("sample.output_text");
});

test("Python is offered the keys of its two arguments", () => {
  expect(offerInPython('x = item["', COLUMNS)).toMatchObject({ typed: "", close: '"]' });
  expect(names(offerInPython("item.get('an", COLUMNS))).toEqual(["answer", "unit price", "messages"]);
  expect(offerInPython("item.get('an", COLUMNS)).toMatchObject({ typed: "an", close: "')" });
  expect(names(offerInPython('sample["', COLUMNS))).toContain("output_text");
  expect(offerInPython('other["', COLUMNS)).toBeNull();
});

test("a reference is unknown where no row has it; without a dataset any field may be right", () => {
  for (const right of ["item.answer", 'item["unit price"]', 'item[\\"unit price\\"]', "item", " sample.output_json.x "])
    expect(isKnown(right, COLUMNS)).toBe(true);
  for (const wrong of ["item.answr", "answer", "sample.text", "sample", ""])
    expect(isKnown(wrong, COLUMNS)).toBe(false);
  expect(isKnown("item.answr", null)).toBe(true);
});
