const TABS = ["keys", "webhooks", "members", "you", "appearance"] as const;

export interface SettingsSearch {
  tab?: (typeof TABS)[number];
}

export function settingsSearch(raw: Record<string, unknown>): SettingsSearch {
  return { tab: TABS.find((tab) => tab === raw.tab) };
}
