import { Alert, Button, Group, Stack, Text } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Dialog } from "./Dialog";

interface ConfirmProps {
  /** The verb on the button: "Delete". */
  verb: string;
  title: string;
  /** What is lost, and what survives. */
  children: ReactNode;
  action: () => Promise<unknown>;
  onDone?: () => void;
  button: (open: () => void) => ReactNode;
}

/** A button that asks before it does something that cannot be undone, and says what survives. */
export function Confirm({ verb, title, children, action, onDone, button }: ConfirmProps) {
  const [open, setOpen] = useState(false);
  const run = useMutation({
    mutationFn: action,
    onSuccess: () => {
      setOpen(false);
      onDone?.();
    },
  });
  const close = () => {
    setOpen(false);
    run.reset();
  };
  return (
    <>
      {button(() => setOpen(true))}
      {open && (
        <Dialog title={title} onClose={close}>
          <Stack>
            <Text component="div">{children}</Text>
            {run.isError && (
              <Alert color="red" role="alert">
                {run.error.message}
              </Alert>
            )}
            <Group justify="flex-end">
              <Button variant="default" onClick={close} data-autofocus>
                Keep
              </Button>
              <Button color="red" loading={run.isPending} onClick={() => run.mutate()}>
                {verb}
              </Button>
            </Group>
          </Stack>
        </Dialog>
      )}
    </>
  );
}
