import { Alert, Anchor, Group, Progress, Stack, Text } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import type { FileObject } from "@/api/schema";
import { type Progress as Sent, uploadFile } from "@/api/upload";
import { DropZone } from "@/ui/DropZone";
import { bytes, duration } from "@/ui/format";
import { filesQuery } from "./queries";

interface Upload {
  id: number;
  name: string;
  size: number;
  startedAt: number;
  sent: Sent;
  result?: FileObject;
  error?: string;
}

let nextId = 1;

/** Takes files, shows how far each is, and what came of it. */
export function UploadBox() {
  const [uploads, setUploads] = useState<Upload[]>([]);
  const client = useQueryClient();
  const change = (id: number, part: Partial<Upload>) =>
    setUploads((all) => all.map((one) => (one.id === id ? { ...one, ...part } : one)));

  const start = async (file: File) => {
    const id = nextId++;
    const sent = { sentBytes: 0, totalBytes: file.size };
    setUploads((all) => [{ id, name: file.name, size: file.size, startedAt: Date.now(), sent }, ...all]);
    try {
      const result = await uploadFile(file, (progress) => change(id, { sent: progress }));
      change(id, { result });
    } catch (error) {
      change(id, { error: error instanceof Error ? error.message : String(error) });
    }
    client.invalidateQueries(filesQuery);
  };
  return (
    <Stack gap="sm">
      <DropZone
        wholePage
        accept=".jsonl"
        label="Drop JSONL files anywhere on this page"
        hint='One JSON object a line: "messages", and the fields your grader reads.'
        onFiles={(files) => files.forEach(start)}
      />
      {uploads.map((upload) => (
        <UploadLine key={upload.id} upload={upload} />
      ))}
    </Stack>
  );
}

function UploadLine({ upload }: { upload: Upload }) {
  const { result, error, name, sent } = upload;
  if (error) {
    return (
      <Alert color="red" role="alert" title={`${name} was not uploaded`}>
        {error}
      </Alert>
    );
  }
  if (result) {
    const bad = result.status === "error";
    return (
      <Alert
        color={bad ? "orange" : "green"}
        role="status"
        title={bad ? `${name} has rows to mend` : `${name} is ready`}
      >
        {bad && <Text size="sm">{result.status_details}</Text>}
        <Anchor
          size="sm"
          renderRoot={(props) => <Link to="/datasets/$fileId" params={{ fileId: result.id }} {...props} />}
        >
          {bad ? "See what is wrong" : "Look at its rows"}
        </Anchor>
      </Alert>
    );
  }
  const share = sent.totalBytes ? sent.sentBytes / sent.totalBytes : 0;
  const passed = (Date.now() - upload.startedAt) / 1000;
  const rest = share > 0.02 && share < 1 ? `, about ${duration((passed * (1 - share)) / share)} left` : "";
  return (
    <Stack gap={4}>
      <Group justify="space-between">
        <Text size="sm">{name}</Text>
        <Text size="sm" c="dimmed">
          {share < 1 ? `${bytes(sent.sentBytes)} of ${bytes(sent.totalBytes)}${rest}` : "The server reads the rows…"}
        </Text>
      </Group>
      <Progress value={share * 100} animated={share >= 1} aria-label={`Upload of ${name}`} />
    </Stack>
  );
}
