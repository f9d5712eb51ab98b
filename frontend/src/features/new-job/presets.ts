/** Ways to begin: each is nothing but the fields that it sets, and can be changed afterwards. */
import { FIELDS } from "@/api/hyperparameters";
import type { Form } from "./request";

export interface Preset {
  name: string;
  says: string;
  set: Record<Form["method"], Record<string, string>>;
}

export const PRESETS: readonly Preset[] = [
  {
    name: "Quick look",
    says: "Does anything move at all?",
    set: {
      reinforcement: { max_steps: "20", group_size: "8", eval_interval: "10" },
      supervised: { max_steps: "20", eval_interval: "10" },
    },
  },
  {
    name: "Standard",
    says: "Everything on auto.",
    set: { reinforcement: {}, supervised: {} },
  },
  {
    name: "Thorough",
    says: "Twice the answers, a finer measurement.",
    set: {
      reinforcement: { compute_multiplier: "2", eval_samples: "16", lora_rank: "32" },
      supervised: { lora_rank: "32", n_epochs: "10" },
    },
  },
];

/** The preset that the form is at, if it is at one. */
export function presetOf({ method, set }: Pick<Form, "method" | "set">): Preset | undefined {
  return PRESETS.find((preset) => {
    const wanted = preset.set[method];
    return (
      Object.keys(wanted).length === Object.keys(set).length &&
      Object.entries(wanted).every(([name, value]) => set[name] === value)
    );
  });
}

/** `Steps at most 20 · Answers per prompt 8` */
export function inWords(set: Record<string, string>): string {
  const words = Object.entries(set).map(
    ([name, value]) => `${FIELDS.find((field) => field.name === name)?.label ?? name} ${value}`,
  );
  return words.join(" · ");
}
