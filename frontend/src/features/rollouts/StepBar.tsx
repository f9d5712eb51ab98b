import { ScrollArea, Text, UnstyledButton } from "@mantine/core";
import type { RolloutGroupShape } from "@/api/schema";
import { number } from "@/ui/format";
import classes from "./rollouts.module.css";

interface StepBarProps {
  steps: readonly RolloutGroupShape[];
  chosen: number | undefined;
  onChoose: (step: number) => void;
}

/** The steps at which the chosen prompt, or any, was answered: mean and best reward of each. */
export function StepBar({ steps, chosen, onChoose }: StepBarProps) {
  if (steps.length === 0) return null;
  const low = Math.min(0, ...steps.map((one) => one.mean ?? 0));
  const high = Math.max(1, ...steps.map((one) => one.best ?? 0));
  const share = (value: number | null) => (value === null ? 0 : ((value - low) / (high - low)) * 100);
  return (
    <div>
      <Text size="xs" c="dimmed">
        Mean reward at each step; the tick is the best answer. [ and ] go from step to step.
      </Text>
      <ScrollArea type="auto" offsetScrollbars="x" viewportProps={{ tabIndex: -1 }}>
        <fieldset className={classes.steps} aria-label="Steps">
          {steps.map((one) => (
            <UnstyledButton
              key={one.step}
              className={classes.step}
              aria-pressed={one.step === chosen}
              aria-label={`Step ${one.step}: mean ${number(one.mean)}, best ${number(one.best)}`}
              title={`Step ${one.step}: mean ${number(one.mean)}, best ${number(one.best)}, ${one.num_rollouts} answers`}
              onClick={() => onChoose(one.step!)}
            >
              <span className={classes.stepBox}>
                <span className={classes.stepMean} style={{ height: `${share(one.mean)}%` }} />
                <span className={classes.stepBest} style={{ bottom: `${share(one.best)}%` }} />
              </span>
              <span>{one.step}</span>
            </UnstyledButton>
          ))}
        </fieldset>
      </ScrollArea>
    </div>
  );
}
