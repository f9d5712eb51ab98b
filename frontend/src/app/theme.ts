import { createTheme, type MantineColorsTuple } from "@mantine/core";

/** Around the blue of Okabe and Ito, which the charts use too. */
const accent: MantineColorsTuple = [
  "#e7f3fa",
  "#d0e5f1",
  "#a2cbe3",
  "#72b0d5",
  "#4a99c9",
  "#318bc2",
  "#2183bf",
  "#1270a8",
  "#066497",
  "#005685",
];

const dark: MantineColorsTuple = [
  "#dde1e6",
  "#bac1c9",
  "#9aa3ad",
  "#727b86",
  "#4a525c",
  "#363d46",
  "#272d34",
  "#191d22",
  "#14171b",
  "#0e1013",
];

export const theme = createTheme({
  colors: { accent, dark },
  primaryColor: "accent",
  // With the other shades white text on a button is too pale in one of the two schemes.
  primaryShade: { light: 9, dark: 9 },
  autoContrast: true,
  luminanceThreshold: 0.35,
  fontFamily: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif",
  fontFamilyMonospace: "ui-monospace, 'Cascadia Mono', 'SF Mono', Menlo, Consolas, monospace",
  fontSizes: { xs: "0.75rem", sm: "0.8125rem", md: "0.875rem", lg: "1rem", xl: "1.125rem" },
  headings: {
    fontWeight: "600",
    sizes: { h1: { fontSize: "1.5rem" }, h2: { fontSize: "1.375rem" }, h4: { fontSize: "1rem" } },
  },
  defaultRadius: "sm",
  respectReducedMotion: true,
  cursorType: "pointer",
  components: {
    Badge: { defaultProps: { variant: "light", radius: "sm" }, styles: { root: { textTransform: "none" } } },
    Button: { defaultProps: { size: "sm" }, styles: { root: { fontWeight: 500 } } },
    Tabs: { vars: () => ({ root: { "--tabs-color": "var(--tab-line)" } }) },
    // In its place in the page, a menu is within a landmark, and its first item takes the focus.
    Menu: {
      defaultProps: { withinPortal: false, withInitialFocusPlaceholder: false, transitionProps: { duration: 0 } },
    },
    Anchor: { defaultProps: { underline: "hover" } },
    Tooltip: { defaultProps: { withArrow: true, openDelay: 300, events: { hover: true, focus: true, touch: true } } },
    Table: { defaultProps: { verticalSpacing: "var(--cell-pad)", horizontalSpacing: "sm" } },
  },
});
