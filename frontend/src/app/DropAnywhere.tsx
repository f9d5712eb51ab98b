import { Text } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import classes from "./frame.module.css";

/** Files may be dropped wherever one is: they are uploaded as datasets, and the page shows how far they are. */
export function DropAnywhere() {
  const [over, setOver] = useState(false);
  const navigate = useNavigate();
  const client = useQueryClient();
  const take = useRef<(files: File[]) => void>(undefined);
  take.current = async (files) => {
    const { startUpload } = await import("@/features/datasets/uploads");
    for (const file of files) startUpload(file, client);
    navigate({ to: "/datasets" });
  };
  useEffect(() => {
    const follow = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      setOver(event.type === "dragover" || (event.type === "dragleave" && event.relatedTarget !== null));
      if (event.type === "drop") take.current?.([...event.dataTransfer.files]);
    };
    const names = ["dragover", "dragleave", "drop"] as const;
    for (const name of names) window.addEventListener(name, follow);
    return () => {
      for (const name of names) window.removeEventListener(name, follow);
    };
  }, []);
  if (!over) return null;
  return (
    <div className={classes.drop}>
      <Text fw={600} size="lg">
        Drop to upload as a dataset
      </Text>
      <Text size="sm" c="dimmed">
        JSONL: one JSON object a line
      </Text>
    </div>
  );
}
