import { Group, Modal, type ModalRootProps } from "@mantine/core";
import type { ReactNode } from "react";
import classes from "./ui.module.css";

interface DialogProps extends Pick<ModalRootProps, "size" | "closeOnClickOutside"> {
  title: string;
  onClose: () => void;
  /** The name is for screen readers only, because the first thing shown says it. */
  bare?: boolean;
  children: ReactNode;
}

/** A modal dialog. The library's own puts a second banner into the page. */
export function Dialog({ title, onClose, bare = false, children, ...rest }: DialogProps) {
  return (
    <Modal.Root opened onClose={onClose} {...rest}>
      <Modal.Overlay />
      <Modal.Content>
        {bare ? (
          <Modal.Title className={classes.unseenTitle}>{title}</Modal.Title>
        ) : (
          <Group justify="space-between" p="md" pb="xs" wrap="nowrap">
            <Modal.Title fw={600} fz="lg">
              {title}
            </Modal.Title>
            <Modal.CloseButton aria-label="Close" />
          </Group>
        )}
        <Modal.Body p={bare ? 0 : undefined}>{children}</Modal.Body>
      </Modal.Content>
    </Modal.Root>
  );
}
