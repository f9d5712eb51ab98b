import { Group, Stack, Text, UnstyledButton } from "@mantine/core";
import type { RewardHistogramShape } from "@/api/schema";
import { count, number, plural } from "@/ui/format";
import { binRange } from "./bins";
import classes from "./rollouts.module.css";

interface Chosen {
  min?: number;
  max?: number;
  failed?: true;
}

interface HistogramProps {
  histogram: RewardHistogramShape;
  chosen: Chosen;
  onChoose: (bin: Chosen) => void;
}

const NONE: Chosen = { min: undefined, max: undefined, failed: undefined };

/** How rewards are spread; a bar keeps the answers in it, and lets them go again. */
export function Histogram({ histogram, chosen, onChoose }: HistogramProps) {
  const { edges, counts, num_ungraded: ungraded } = histogram;
  const highest = Math.max(1, ...counts);
  return (
    <Stack gap={4}>
      <Text size="sm" fw={600}>
        Rewards
      </Text>
      <fieldset className={classes.bars} aria-label="Rewards">
        {counts.map((found, bin) => {
          const range = binRange(edges, bin);
          const on = chosen.min === range.min && chosen.max === range.max;
          return (
            <UnstyledButton
              key={edges[bin]}
              className={classes.bar}
              aria-pressed={on}
              disabled={found === 0 && !on}
              aria-label={`${number(edges[bin])} to ${number(edges[bin + 1])}: ${plural(found, "answer")}`}
              title={`${number(edges[bin])} to ${number(edges[bin + 1])}: ${plural(found, "answer")}`}
              onClick={() => onChoose(on ? NONE : { ...NONE, ...range })}
            >
              <span style={{ height: `${found ? Math.max(4, (found / highest) * 100) : 0}%` }} />
            </UnstyledButton>
          );
        })}
      </fieldset>
      <Group justify="space-between">
        <Text size="xs" c="dimmed">
          {number(edges[0])}
        </Text>
        {ungraded > 0 && (
          <UnstyledButton
            className={classes.ungraded}
            aria-pressed={chosen.failed === true}
            onClick={() => onChoose(chosen.failed ? NONE : { ...NONE, failed: true })}
          >
            {count(ungraded)} without a grade
          </UnstyledButton>
        )}
        <Text size="xs" c="dimmed">
          {number(edges[edges.length - 1])}
        </Text>
      </Group>
    </Stack>
  );
}
