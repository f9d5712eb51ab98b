import { useEffect, useState } from "react";
import { useConnected } from "./stream";

interface Watching {
  visible: boolean;
  over: boolean;
  /** Hints tell when there is something new. */
  connected: boolean;
}

/**
 * How long until the next look: 2 s while somebody watches, 15 s in a hidden tab, a minute beside hints, in case one is
 * lost on the way; never when nothing can change.
 */
export function pollInterval({ visible, over, connected }: Watching): number | false {
  if (over) return false;
  if (connected) return 60_000;
  return visible ? 2_000 : 15_000;
}

/**
 * The `refetchInterval` of a query that follows something alive:
 *
 *   const poll = usePolling();
 *   useQuery({ ...jobQuery(id), refetchInterval: ({ state }) => poll(isTerminal(state.data?.status)) })
 *
 * Set `refetchIntervalInBackground: true` too. What has such an interval is also what a hint refreshes: all of it when
 * its key names no job, else when that job changed.
 */
export function usePolling(): (over: boolean) => number | false {
  const visible = useVisible();
  const connected = useConnected();
  return (over) => pollInterval({ visible, over, connected });
}

function useVisible(): boolean {
  const [visible, setVisible] = useState(document.visibilityState !== "hidden");
  useEffect(() => {
    const update = () => setVisible(document.visibilityState !== "hidden");
    document.addEventListener("visibilitychange", update);
    return () => document.removeEventListener("visibilitychange", update);
  }, []);
  return visible;
}
