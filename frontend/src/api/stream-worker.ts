/** The shared worker: a browser allows six connections to a server, and streams of its tabs would take them all. */
import { Relay } from "./relay";

const relay = new Relay(() => new EventSource("/v1/fettle/stream") as never);

interface SharedScope {
  onconnect: (event: MessageEvent) => void;
}

(globalThis as unknown as SharedScope).onconnect = ({ ports }) => {
  const tab = ports[0]!;
  tab.onmessage = ({ data }) => (data === "join" ? relay.join(tab) : relay.leave(tab));
};
