import { expect, test } from "vitest";
import { ago, bytes, duration, number, percent, plural, signed } from "./format";

test("numbers keep three digits and write what is missing as a dash", () => {
  expect([0, 4, 0.5, 0.98765, 12.345, 123.4, 1234.5, 0.0004, null].map((value) => number(value))).toEqual([
    "0",
    "4",
    "0.500",
    "0.988",
    "12.3",
    "123",
    "1,235",
    "4.0e-4",
    "–",
  ]);
});

test("a change always has its sign", () => {
  expect([signed(0.4567), signed(-0.02), signed(0)]).toEqual(["+0.457", "−0.020", "+0"]);
});

test("bytes, shares and counts", () => {
  expect([bytes(999), bytes(1500), bytes(123_456_789)]).toEqual(["999 B", "1.5 kB", "123 MB"]);
  expect([percent(0.5), percent(0.031), percent(1)]).toEqual(["50 %", "3.1 %", "100 %"]);
  expect([plural(1, "row"), plural(1204, "row")]).toEqual(["1 row", "1,204 rows"]);
});

test("times", () => {
  expect([duration(42), duration(60), duration(75), duration(5000), duration(200_000)]).toEqual([
    "42 s",
    "1 min",
    "1 min 15 s",
    "1 h 23 min",
    "2 days",
  ]);
  expect([ago(100, 102), ago(100, 160), ago(100, 400), ago(0, 7200)]).toEqual([
    "just now",
    "60 s ago",
    "5 min ago",
    "2 h ago",
  ]);
});
