import { SegmentedControl, Stack, Switch, Text, useMantineColorScheme } from "@mantine/core";
import { type ReactNode, useState } from "react";
import { keysAreOff, turnKeys } from "@/ui/keys";
import { Section } from "@/ui/Page";

const SCHEMES = [
  { value: "auto", label: "As the system" },
  { value: "light", label: "Light" },
  { value: "dark", label: "Dark" },
];
const DENSITIES = [
  { value: "comfortable", label: "Comfortable" },
  { value: "compact", label: "Compact" },
];

export function Appearance() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const [density, setDensity] = useState(document.documentElement.dataset.density ?? "comfortable");
  const [keys, setKeys] = useState(!keysAreOff());
  return (
    <Section title="Appearance" lead="Kept in this browser.">
      <Stack gap="lg" align="flex-start">
        <Choice label="Colours">
          <SegmentedControl
            aria-label="Colours"
            data={SCHEMES}
            value={colorScheme}
            onChange={(value) => setColorScheme(value as typeof colorScheme)}
          />
        </Choice>
        <Choice label="Tables">
          <SegmentedControl
            aria-label="Tables"
            data={DENSITIES}
            value={density}
            onChange={(value) => {
              localStorage.setItem("fettle-density", value);
              document.documentElement.dataset.density = value;
              setDensity(value);
            }}
          />
        </Choice>
        <Switch
          label="Keys of a single letter, such as g j for the jobs"
          checked={keys}
          onChange={(event) => {
            turnKeys(event.currentTarget.checked);
            setKeys(event.currentTarget.checked);
          }}
        />
      </Stack>
    </Section>
  );
}

function Choice({ label, children }: { label: string; children: ReactNode }) {
  return (
    <Stack gap={4} align="flex-start">
      <Text size="sm" fw={600}>
        {label}
      </Text>
      {children}
    </Stack>
  );
}
