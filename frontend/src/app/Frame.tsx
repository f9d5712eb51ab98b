import { ActionIcon, AppShell, Burger, Group, Menu, NavLink, Text, UnstyledButton } from "@mantine/core";
import { useDisclosure, useMediaQuery } from "@mantine/hooks";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useLocation, useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useState } from "react";
import { answer, api } from "@/api/client";
import { sessionQuery } from "@/api/queries";
import { useStream } from "@/api/stream";
import { useKeys } from "@/ui/keys";
import { Connection } from "./Connection";
import { DropAnywhere } from "./DropAnywhere";
import classes from "./frame.module.css";
import { PAGES } from "./navigation";
import { ProjectSwitch } from "./ProjectSwitch";

const Palette = lazy(() => import("./Palette"));
const KeySheet = lazy(() => import("./KeySheet"));

/** Header, navigation and the page between them. */
export function Frame() {
  const [menuOpen, menu] = useDisclosure(false);
  const [dialog, setDialog] = useState<"palette" | "keys" | null>(null);
  const navigate = useNavigate();
  const path = useLocation({ select: (location) => location.pathname });
  useStream();
  const narrow = useMediaQuery("(max-width: 48em)", undefined, { getInitialValueInEffect: false });
  useKeys({
    "mod+k": () => setDialog("palette"),
    "?": () => setDialog("keys"),
    ...Object.fromEntries(PAGES.map((page) => [`g ${page.key}`, () => navigate({ to: page.to })])),
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new page closes the menu over it
  useEffect(menu.close, [path]);

  return (
    <AppShell
      header={{ height: 48 }}
      navbar={{ width: 200, breakpoint: "sm", collapsed: { mobile: !menuOpen } }}
      padding={{ base: "md", sm: "xl" }}
      transitionDuration={0}
    >
      {/* Above the navigation: its menus open over it. */}
      <AppShell.Header className={classes.header} zIndex={102}>
        <a href="#main" className={classes.skip}>
          Skip to the page
        </a>
        <Group gap="sm" wrap="nowrap">
          <Burger
            opened={menuOpen}
            onClick={menu.toggle}
            hiddenFrom="sm"
            size="sm"
            aria-label="Navigation"
            aria-expanded={menuOpen}
          />
          <Link to="/" className={classes.brand}>
            <img src="/static/app/mark.svg" alt="" width={22} height={22} />
            Fettle
          </Link>
          <ProjectSwitch />
        </Group>
        <Group gap="xs" wrap="nowrap">
          <UnstyledButton className={classes.search} onClick={() => setDialog("palette")}>
            {narrow ? "Search" : "Search or jump to…"}
            {!narrow && <kbd>Ctrl K</kbd>}
          </UnstyledButton>
          <Person onKeys={() => setDialog("keys")} />
        </Group>
      </AppShell.Header>
      <AppShell.Navbar className={classes.navbar} aria-label="Pages" {...(narrow && !menuOpen ? { inert: true } : {})}>
        {PAGES.map((page) => {
          const active = isWithin(path, page.to);
          return (
            <NavLink
              key={page.to}
              renderRoot={(props) => <Link to={page.to} {...props} />}
              label={page.label}
              active={active}
              aria-current={active ? "page" : undefined}
              className={classes.navLink}
            />
          );
        })}
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1} className={classes.main}>
        <div className={classes.page}>
          <Outlet />
        </div>
        <Connection />
      </AppShell.Main>
      <DropAnywhere />
      <Suspense>
        {dialog === "palette" && <Palette onClose={() => setDialog(null)} />}
        {dialog === "keys" && <KeySheet onClose={() => setDialog(null)} />}
      </Suspense>
    </AppShell>
  );
}

function isWithin(path: string, page: string): boolean {
  return path === page || (page !== "/" && path.startsWith(`${page}/`));
}

function Person({ onKeys }: { onKeys: () => void }) {
  const { data: session } = useQuery(sessionQuery);
  const client = useQueryClient();
  const name = session?.user?.name || session?.user?.email || "?";
  const signOut = async () => {
    await answer(api.DELETE("/v1/fettle/session"));
    client.clear();
  };
  return (
    <Menu position="bottom-end" width={220}>
      <Menu.Target>
        <ActionIcon variant="default" radius="xl" size="md" aria-label={`Account of ${name}`}>
          <Text size="sm" fw={600} span>
            {name.slice(0, 1).toUpperCase()}
          </Text>
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{session?.user?.email}</Menu.Label>
        <Menu.Item renderRoot={(props) => <Link to="/settings" {...props} />}>Settings</Menu.Item>
        <Menu.Item onClick={onKeys}>Keyboard</Menu.Item>
        <Menu.Divider />
        <Menu.Item onClick={signOut}>Sign out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
