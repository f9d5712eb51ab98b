import { Alert } from "@mantine/core";
import { useNetwork } from "@mantine/hooks";

export function Offline() {
  const { online } = useNetwork();
  if (online) return null;
  return (
    <Alert color="orange" mb="md" role="status">
      This browser is offline. A server on another machine is out of reach until the network is back; what you typed is
      kept.
    </Alert>
  );
}
