import { Alert } from "@mantine/core";
import { useNetwork } from "@mantine/hooks";

export function Offline() {
  const { online } = useNetwork();
  if (online) return null;
  return (
    <Alert color="orange" mb="md" role="status">
      This browser is offline. What you typed is kept; the page goes on when the network is back.
    </Alert>
  );
}
