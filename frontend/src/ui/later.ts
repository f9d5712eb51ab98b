import { useDebouncedCallback } from "@mantine/hooks";
import { useMatch, useRouter } from "@tanstack/react-router";

/**
 * Writes into the address what was typed, once the typing rests. A page stays drawn while the next one is loaded:
 * writing its address then would call the reader back, so from that moment nothing is written any more.
 */
export function useLater<Arguments extends unknown[]>(write: (...values: Arguments) => void, ms: number) {
  const { history } = useRouter();
  const here = useMatch({ strict: false, select: (match) => match.pathname });
  return useDebouncedCallback((...values: Arguments) => {
    if (history.location.pathname === here) write(...values);
  }, ms);
}
