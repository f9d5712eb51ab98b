import { Text, UnstyledButton } from "@mantine/core";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef } from "react";
import type { RolloutGroupShape } from "@/api/schema";
import { number } from "@/ui/format";
import classes from "./rollouts.module.css";

interface StepBarProps {
  steps: readonly RolloutGroupShape[];
  chosen: number | undefined;
  onChoose: (step: number) => void;
}

const STEP_PX = 34;

/**
 * The steps at which the chosen prompt, or any, was answered: mean and best reward of each. Only those in view are in
 * the page: there may be thousands.
 */
export function StepBar(props: StepBarProps) {
  return props.steps.length > 0 && <Steps {...props} />;
}

function Steps({ steps, chosen, onChoose }: StepBarProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const place = steps.findIndex((one) => one.step === chosen);
  const virtual = useVirtualizer({
    count: steps.length,
    horizontal: true,
    getScrollElement: () => scroller.current,
    estimateSize: () => STEP_PX,
    initialOffset: Math.max(0, place - 5) * STEP_PX,
    overscan: 8,
  });
  useEffect(() => {
    const box = scroller.current;
    const left = place * STEP_PX;
    if (!box || place < 0 || (left >= box.scrollLeft && left + STEP_PX <= box.scrollLeft + box.clientWidth)) return;
    box.scrollLeft = left - box.clientWidth / 2;
  }, [place]);
  const low = steps.reduce((least, one) => Math.min(least, one.mean ?? 0), 0);
  const high = steps.reduce((most, one) => Math.max(most, one.best ?? 0), 1);
  const share = (value: number | null) => (value === null ? 0 : ((value - low) / (high - low)) * 100);
  return (
    <div>
      <Text size="xs" c="dimmed">
        Mean reward at each step; the tick is the best answer. [ and ] go from step to step.
      </Text>
      <fieldset className={classes.stepsGroup} aria-label="Steps">
        <div ref={scroller} className={classes.steps}>
          <div style={{ width: virtual.getTotalSize() }} />
          {virtual.getVirtualItems().map(({ index, start }) => {
            const one = steps[index]!;
            return (
              <UnstyledButton
                key={one.step}
                className={classes.step}
                style={{ width: STEP_PX, transform: `translateX(${start}px)` }}
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
            );
          })}
        </div>
      </fieldset>
    </div>
  );
}
