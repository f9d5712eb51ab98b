import { Button, Stack, Text } from "@mantine/core";
import { useRef } from "react";
import { useKeys } from "./keys";
import classes from "./ui.module.css";

interface DropZoneProps {
  onFiles: (files: File[]) => void;
  accept: string;
  label: string;
  hint: string;
}

/** Says that files may be dropped, which the frame takes everywhere, with a button for everybody who does not drag. */
export function DropZone({ onFiles, accept, label, hint }: DropZoneProps) {
  const input = useRef<HTMLInputElement>(null);
  useKeys({ n: () => input.current?.click() });
  return (
    <div className={classes.dropZone}>
      <Stack align="center" gap={6}>
        <Text fw={600} ta="center">
          {label}
        </Text>
        <Text size="sm" c="dimmed" ta="center">
          {hint}
        </Text>
        <Button variant="default" size="sm" onClick={() => input.current?.click()}>
          Choose a file
        </Button>
        <input
          ref={input}
          type="file"
          hidden
          multiple
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
