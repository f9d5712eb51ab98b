import { useEffect, useState } from "react";

/** How long until the next look: 2 s while somebody watches, 15 s in a hidden tab, never when nothing can change. */
export function pollInterval({ visible, over }: { visible: boolean; over: boolean }): number | false {
  if (over) return false;
  return visible ? 2_000 : 15_000;
}

/**
 * The `refetchInterval` of a query that follows something alive:
 *
 *   const poll = usePolling();
 *   useQuery({ ...jobQuery(id), refetchInterval: ({ state }) => poll(isTerminal(state.data?.status)) })
 *
 * Set `refetchIntervalInBackground: true` too.
 */
export function usePolling(): (over: boolean) => number | false {
  const visible = useVisible();
  return (over) => pollInterval({ visible, over });
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
