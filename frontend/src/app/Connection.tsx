import { Alert, Anchor } from "@mantine/core";
import { useNetwork } from "@mantine/hooks";
import { useUnrefreshed } from "@/api/unrefreshed";
import classes from "./frame.module.css";

/** Says that the browser is offline, or that what is shown is old: once, over the page's foot, so that nothing moves. */
export function Connection() {
  const { online } = useNetwork();
  const { since, retry } = useUnrefreshed();
  if (online && since === null) return null;
  return (
    <Alert color="orange" py="xs" role="status" className={classes.connection}>
      {online ? (
        <>
          Not refreshed since {new Date(since ?? 0).toLocaleTimeString()}.{" "}
          <Anchor component="button" type="button" size="sm" onClick={retry}>
            Try again
          </Anchor>
        </>
      ) : (
        "This browser is offline. A server on another machine is out of reach until the network is back; what you typed is kept."
      )}
    </Alert>
  );
}
