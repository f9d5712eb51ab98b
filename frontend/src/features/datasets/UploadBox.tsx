import { Alert, Anchor, Button, Group, Progress, Stack, Text } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import type { FileObject } from "@/api/schema";
import { PART_BYTES, type Progress as Sent, uploadFile } from "@/api/upload";
import { DropZone } from "@/ui/DropZone";
import { bytes, duration, plural } from "@/ui/format";
import { type Early, lookEarly } from "./check";
import { filesQuery } from "./queries";

interface Upload {
  id: number;
  file: File;
  startedAt: number;
  stop: AbortController;
  early?: Early;
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

  const start = async (file: File, before?: number) => {
    const id = nextId++;
    const sent = { sentBytes: 0, totalBytes: file.size };
    const stop = new AbortController();
    const made = { id, file, startedAt: Date.now(), stop, sent };
    setUploads((all) => [made, ...all.filter((one) => one.id !== before)]);
    lookEarly(file, (early) => change(id, { early }), stop.signal).catch(() => {});
    try {
      const result = await uploadFile(file, (progress) => change(id, { sent: progress }), stop.signal);
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
        onFiles={(files) => {
          for (const file of files) start(file);
        }}
      />
      {uploads.map((upload) => (
        <UploadLine key={upload.id} upload={upload} onAgain={() => start(upload.file, upload.id)} />
      ))}
    </Stack>
  );
}

function UploadLine({ upload, onAgain }: { upload: Upload; onAgain: () => void }) {
  const { result, error, sent, early } = upload;
  const { name } = upload.file;
  if (error) {
    return (
      <Alert color="red" role="alert" title={`${name} was not uploaded`}>
        <Stack gap="xs" align="flex-start">
          {error}
          <Button size="xs" variant="default" onClick={onAgain}>
            {sent.totalBytes > PART_BYTES ? "Go on where it broke" : "Try again"}
          </Button>
        </Stack>
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
      {early && early.numBad > 0 && (
        <Alert color="orange" role="status" title={`${plural(early.numBad, "bad line")} so far`}>
          {early.bad.map(({ line, problem }) => (
            <Text size="sm" key={line}>
              Line {line}: {problem}
            </Text>
          ))}
          <Button size="xs" variant="default" mt="xs" onClick={() => upload.stop.abort()}>
            Stop the upload
          </Button>
        </Alert>
      )}
    </Stack>
  );
}
