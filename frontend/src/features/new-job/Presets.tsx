import { Text, UnstyledButton } from "@mantine/core";
import classes from "./new-job.module.css";
import { inWords, PRESETS, presetOf } from "./presets";
import type { Form } from "./request";

/** Where to begin; each says which fields it sets. */
export function Presets({ form, onChange }: { form: Form; onChange: (set: Record<string, string>) => void }) {
  const chosen = presetOf(form);
  return (
    <fieldset className={classes.presets} aria-label="Presets">
      {PRESETS.map((preset) => {
        const set = preset.set[form.method];
        return (
          <UnstyledButton
            key={preset.name}
            className={classes.preset}
            aria-pressed={preset === chosen}
            onClick={() => onChange(set)}
          >
            <Text size="sm" fw={600}>
              {preset.name}
              {preset === chosen && " ✓"}
            </Text>
            <Text size="xs">{preset.says}</Text>
            {Object.keys(set).length > 0 && (
              <Text size="xs" c="dimmed">
                {inWords(set)}
              </Text>
            )}
          </UnstyledButton>
        );
      })}
    </fieldset>
  );
}
