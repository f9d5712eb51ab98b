import { Anchor, Button } from "@mantine/core";
import { type ErrorComponentProps, Link } from "@tanstack/react-router";
import { Page } from "@/ui/Page";
import { Empty, Failure } from "@/ui/states";

export function NotFound() {
  return (
    <Page title="There is no such page">
      <Empty
        title="The address leads nowhere."
        action={<Anchor renderRoot={(props) => <Link to="/" {...props} />}>To the overview</Anchor>}
      >
        It may be mistyped, or what it named was deleted.
      </Empty>
    </Page>
  );
}

/** A page that failed while it was loaded or drawn; the frame around it goes on. */
export function Broken({ error, reset }: ErrorComponentProps) {
  // After an update of the server the old page asks for chunks that are gone.
  const outdated = /dynamically imported module|Importing a module script failed/.test(String(error));
  return (
    <Page title={outdated ? "The page was updated" : "This page failed"}>
      {outdated ? (
        <Button onClick={() => window.location.reload()} style={{ alignSelf: "flex-start" }}>
          Load the new version
        </Button>
      ) : (
        <Failure error={error} onRetry={reset} />
      )}
    </Page>
  );
}
