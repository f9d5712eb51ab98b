import { Tabs } from "@mantine/core";
import { getRouteApi } from "@tanstack/react-router";
import { Page } from "@/ui/Page";
import { ApiKeys } from "./ApiKeys";
import { Appearance } from "./Appearance";
import { Members } from "./Members";
import type { SettingsSearch } from "./search";
import { Webhooks } from "./Webhooks";
import { You } from "./You";

const route = getRouteApi("/frame/settings");

export function SettingsPage() {
  const { tab = "keys" } = route.useSearch();
  const navigate = route.useNavigate();
  return (
    <Page title="Settings">
      <Tabs
        value={tab}
        onChange={(to) => navigate({ search: { tab: to as SettingsSearch["tab"] } })}
        keepMounted={false}
      >
        <Tabs.List>
          <Tabs.Tab value="keys">API keys</Tabs.Tab>
          <Tabs.Tab value="webhooks">Webhooks</Tabs.Tab>
          <Tabs.Tab value="members">Members</Tabs.Tab>
          <Tabs.Tab value="you">You</Tabs.Tab>
          <Tabs.Tab value="appearance">Appearance</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="keys" pt="lg">
          <ApiKeys />
        </Tabs.Panel>
        <Tabs.Panel value="webhooks" pt="lg">
          <Webhooks />
        </Tabs.Panel>
        <Tabs.Panel value="members" pt="lg">
          <Members />
        </Tabs.Panel>
        <Tabs.Panel value="you" pt="lg">
          <You />
        </Tabs.Panel>
        <Tabs.Panel value="appearance" pt="lg">
          <Appearance />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}
