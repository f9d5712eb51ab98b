import type { EventShape } from "@/api/schema";

export interface Notice {
  step: number;
  events: EventShape[];
}

/**
 * What the engine said about steps, by ascending step: a rule of health that noticed something, or the end of training.
 *
 * @param events the newest first, as the server lists them.
 */
export function noticesOf(events: readonly EventShape[]): Notice[] {
  const found = new Map<number, EventShape[]>();
  for (const event of [...events].reverse()) {
    const step = event.data?.step;
    if (typeof step !== "number" || typeof event.data?.code !== "string") continue;
    found.set(step, [...(found.get(step) ?? []), event]);
  }
  return [...found].map(([step, said]) => ({ step, events: said })).sort((a, b) => a.step - b.step);
}
