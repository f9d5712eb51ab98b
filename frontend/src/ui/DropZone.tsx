import { Button, Stack, Text } from "@mantine/core";
import { type DragEvent, useEffect, useRef, useState } from "react";
import classes from "./ui.module.css";

interface DropZoneProps {
  onFiles: (files: File[]) => void;
  accept: string;
  label: string;
  hint: string;
  /** The whole page takes drops, not only the box. */
  wholePage?: boolean;
  disabled?: boolean;
}

/** A box to drop files on, with a button for everybody who does not drag. */
export function DropZone({ onFiles, accept, label, hint, wholePage = false, disabled = false }: DropZoneProps) {
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const take = useRef(onFiles);
  take.current = onFiles;

  useEffect(() => {
    if (!wholePage || disabled) return;
    const isFile = (event: globalThis.DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const hover = (event: globalThis.DragEvent) => {
      if (!isFile(event)) return;
      event.preventDefault();
      setOver(event.type !== "dragleave" || event.relatedTarget !== null);
    };
    const drop = (event: globalThis.DragEvent) => {
      if (!isFile(event)) return;
      event.preventDefault();
      setOver(false);
      take.current([...(event.dataTransfer?.files ?? [])]);
    };
    const listened = { dragover: hover, dragleave: hover, drop };
    for (const [name, listener] of Object.entries(listened)) window.addEventListener(name as "drop", listener);
    return () => {
      for (const [name, listener] of Object.entries(listened)) window.removeEventListener(name as "drop", listener);
    };
  }, [wholePage, disabled]);

  const own = (event: DragEvent) => {
    event.preventDefault();
    setOver(event.type === "dragover");
    if (event.type === "drop" && !disabled) onFiles([...event.dataTransfer.files]);
  };
  return (
    <div
      className={classes.dropZone}
      data-over={over || undefined}
      {...(wholePage ? {} : { onDragOver: own, onDragLeave: own, onDrop: own })}
    >
      <Stack align="center" gap={6}>
        <Text fw={600}>{label}</Text>
        <Text size="sm" c="dimmed" ta="center">
          {hint}
        </Text>
        <Button variant="default" size="sm" disabled={disabled} onClick={() => input.current?.click()}>
          Choose a file
        </Button>
        <input
          ref={input}
          type="file"
          hidden
          accept={accept}
          aria-label={label}
          onChange={(event) => {
            onFiles([...(event.currentTarget.files ?? [])]);
            event.currentTarget.value = "";
          }}
        />
      </Stack>
    </div>
  );
}
