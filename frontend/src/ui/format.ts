/** Numbers and times in words. Fixed to one notation, so that the page reads like the command line and the docs. */

const counts = new Intl.NumberFormat("en-US");

export function count(value: number): string {
  return counts.format(value);
}

/** `plural(3, "row")` -> `3 rows`. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let rest = value;
  while (rest >= 1000 && unit < units.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  return `${unit === 0 || rest >= 100 ? Math.round(rest) : rest.toFixed(1)} ${units[unit]}`;
}

/** Three significant digits, without an exponent where people write none. */
export function number(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0 || Number.isInteger(value)) return count(value);
  const size = Math.abs(value);
  if (size < 0.001 || size >= 1e9) return value.toExponential(1);
  if (size >= 1000) return counts.format(Math.round(value));
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? Math.min(1, digits) : digits);
}

/** A change, always with its sign: `+0.46`, `−0.02`. */
export function signed(value: number, digits = 3): string {
  const text = number(Math.abs(value), digits);
  return value < 0 ? `−${text}` : `+${text}`;
}

export function percent(share: number): string {
  return `${number(share * 100, share < 0.1 ? 1 : 0)} %`;
}

export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60 ? `${whole % 60} s` : ""}`.trim();
  const hours = Math.floor(whole / 3600);
  if (hours < 48) return `${hours} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(hours / 24)} days`;
}

/** `4 min ago`; `now` and `then` in Unix seconds. */
export function ago(then: number, now: number): string {
  const passed = now - then;
  if (passed < 5) return "just now";
  if (passed < 90) return `${Math.round(passed)} s ago`;
  if (passed < 5400) return `${Math.round(passed / 60)} min ago`;
  if (passed < 129_600) return `${Math.round(passed / 3600)} h ago`;
  return `${Math.round(passed / 86_400)} days ago`;
}

export function dateTime(unix: number): string {
  return new Date(unix * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}
