import { Alert, Anchor, Button, Group, Progress, Stack, Text } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useEffect } from "react";
import { PART_BYTES } from "@/api/upload";
import { DropZone } from "@/ui/DropZone";
import { bytes, duration, plural } from "@/ui/format";
import { forgetArrived, startUpload, type Upload, useUploads } from "./uploads";

/** Takes files, shows how far each is, and what came of it. */
export function UploadBox() {
  const uploads = useUploads();
  const client = useQueryClient();
  useEffect(() => forgetArrived, []);
  return (
    <Stack gap="sm">
      <DropZone
        accept=".jsonl"
        label="Drop JSONL files anywhere"
        hint='One JSON object a line: "messages", and the fields your grader reads.'
        onFiles={(files) => {
          for (const file of files) startUpload(file, client);
        }}
      />
      {uploads.map((upload) => (
        <UploadLine key={upload.id} upload={upload} onAgain={() => startUpload(upload.file, client, upload.id)} />
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
