/** The pages of the navigation, in its order. `key` follows `g` on the keyboard. */
export const PAGES = [
  { to: "/", label: "Overview", key: "o" },
  { to: "/datasets", label: "Datasets", key: "d" },
  { to: "/graders", label: "Graders", key: "g" },
  { to: "/jobs", label: "Jobs", key: "j" },
  { to: "/models", label: "Models", key: "m" },
  { to: "/playground", label: "Playground", key: "p" },
  { to: "/settings", label: "Settings", key: "s" },
] as const;
