import { Alert, Anchor, Button, Group, NumberInput, Select, Stack, Text } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api } from "@/api/client";
import type { FileObject } from "@/api/schema";
import { count, plural } from "@/ui/format";
import { Section } from "@/ui/Page";
import { Failure } from "@/ui/states";
import { filesQuery } from "./queries";

export function Split({ file, numRows }: { file: FileObject; numRows: number }) {
  return (
    <Stack gap="xl">
      <Section
        title="Hold rows out"
        lead="Makes two new files: one to train on, one to measure on. Rows with the same prompt stay together."
      >
        <MakeSplit file={file} numRows={numRows} />
      </Section>
      <Section
        title="Check against another file"
        lead="A prompt that is trained on and measured on makes the result look better than it is."
      >
        <Overlap file={file} />
      </Section>
    </Stack>
  );
}

function MakeSplit({ file, numRows }: { file: FileObject; numRows: number }) {
  const [percent, setPercent] = useState<number>(10);
  const [seed, setSeed] = useState<number>(1);
  const client = useQueryClient();
  const split = useMutation({
    mutationFn: () =>
      answer(
        api.POST("/v1/fettle/files/{file_id}/split", {
          params: { path: { file_id: file.id } },
          body: { share: percent / 100, seed },
        }),
      ),
    onSuccess: () => client.invalidateQueries(filesQuery),
  });
  return (
    <Stack gap="sm">
      <Group align="flex-end">
        <NumberInput
          label="Held out"
          suffix=" %"
          min={1}
          max={90}
          w={110}
          value={percent}
          onChange={(value) => setPercent(Number(value) || 10)}
        />
        <NumberInput label="Seed" min={0} w={110} value={seed} onChange={(value) => setSeed(Number(value) || 0)} />
        <Button loading={split.isPending} disabled={file.status !== "processed"} onClick={() => split.mutate()}>
          Split
        </Button>
        <Text size="sm" c="dimmed">
          about {count(Math.max(1, Math.round((numRows * percent) / 100)))} of {plural(numRows, "row")}
        </Text>
      </Group>
      {file.status !== "processed" && <Text size="sm">Mend the rows with errors first.</Text>}
      {split.isError && <Failure error={split.error} />}
      {split.data && (
        <Alert color="green" role="status" title={`Split with seed ${split.data.seed}`}>
          {[split.data.training_file, split.data.validation_file].map((made) => (
            <div key={made.id}>
              <Anchor
                size="sm"
                renderRoot={(props) => <Link to="/datasets/$fileId" params={{ fileId: made.id }} {...props} />}
              >
                {made.filename}
              </Anchor>
            </div>
          ))}
        </Alert>
      )}
    </Stack>
  );
}

function Overlap({ file }: { file: FileObject }) {
  const [other, setOther] = useState<string | null>(null);
  const files = useQuery(filesQuery);
  const overlap = useQuery({
    queryKey: ["files", file.id, "overlap", other],
    enabled: other !== null,
    queryFn: () =>
      answer(
        api.GET("/v1/fettle/files/{file_id}/overlap", {
          params: { path: { file_id: file.id }, query: { other: other! } },
        }),
      ),
  });
  const choices = (files.data?.data ?? []).filter((one) => one.id !== file.id);
  return (
    <Stack gap="sm">
      <Select
        label="The other file"
        placeholder={choices.length ? "Choose a file" : "There is no other file"}
        searchable
        maw={420}
        data={choices.map((one) => ({ value: one.id, label: `${one.filename} · ${one.id.slice(-6)}` }))}
        value={other}
        onChange={setOther}
      />
      {overlap.isError && <Failure error={overlap.error} onRetry={() => overlap.refetch()} />}
      {overlap.data && (
        <Alert color={overlap.data.num_rows ? "orange" : "green"} role="status">
          {overlap.data.num_rows === 0
            ? "No prompt stands in both files."
            : `${plural(overlap.data.num_rows, "prompt")} of the other file also stands here: ${overlap.data.examples
                .map((pair) => `line ${pair.line} here is line ${pair.other_line} there`)
                .join("; ")}${overlap.data.num_rows > overlap.data.examples.length ? "; …" : ""}`}
        </Alert>
      )}
    </Stack>
  );
}
