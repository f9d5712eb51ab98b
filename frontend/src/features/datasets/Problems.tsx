import { Accordion, Anchor, Badge, Button, Code, Group, Stack, Table, Text } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api } from "@/api/client";
import type { CauseObject, FileValidation } from "@/api/schema";
import { count, plural } from "@/ui/format";
import { Section } from "@/ui/Page";
import { Failure } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import classes from "./datasets.module.css";
import { around } from "./highlight";
import { filesQuery, rowQuery } from "./queries";

/** What is wrong with a file, by cause; each with its lines as they stand. */
export function Problems({ fileId, report }: { fileId: string; report: FileValidation }) {
  if (report.causes.length === 0) return null;
  return (
    <Section
      title={report.num_errors ? "What to mend" : "Worth a look"}
      lead={
        report.num_errors
          ? "One row with an error makes the file unusable. Warnings do not."
          : "None of this stops a training."
      }
      actions={report.num_errors > 0 && <Ways fileId={fileId} report={report} />}
    >
      <Accordion variant="separated" multiple defaultValue={report.causes.slice(0, 1).map((cause) => keyOf(cause))}>
        {report.causes.map((cause) => (
          <Accordion.Item key={keyOf(cause)} value={keyOf(cause)}>
            <Accordion.Control>
              <Group gap="sm" wrap="nowrap" align="flex-start">
                <Badge color={cause.severity === "error" ? "red" : "orange"} variant="light" miw="max-content" mt={2}>
                  {cause.severity} {count(cause.count)}×
                </Badge>
                <Text size="sm">
                  {cause.path && <Code>{cause.path}</Code>} {cause.message}
                </Text>
              </Group>
            </Accordion.Control>
            <Accordion.Panel>
              <Stack gap="xs">
                <Text size="sm">
                  Expected: <Untrusted text={cause.expected} />
                </Text>
                <Examples fileId={fileId} cause={cause} />
              </Stack>
            </Accordion.Panel>
          </Accordion.Item>
        ))}
      </Accordion>
    </Section>
  );
}

function keyOf(cause: CauseObject): string {
  // Part of an id in the page, which has no spaces.
  return `${cause.code} ${cause.path} ${cause.expected}`.replace(/\W+/g, "-");
}

function Ways({ fileId, report }: { fileId: string; report: FileValidation }) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const keep = useMutation({
    mutationFn: () =>
      answer(api.POST("/v1/fettle/files/{file_id}/usable_rows", { params: { path: { file_id: fileId } } })),
    onSuccess: (made) => {
      client.invalidateQueries(filesQuery);
      navigate({ to: "/datasets/$fileId", params: { fileId: made.id } });
    },
  });
  return (
    <>
      <Button component="a" variant="default" size="xs" href={`/v1/fettle/files/${fileId}/bad_lines`} download>
        Download the bad lines
      </Button>
      <Button size="xs" loading={keep.isPending} onClick={() => keep.mutate()} disabled={report.num_rows === 0}>
        Make a file of the good lines
      </Button>
      {keep.isError && (
        <Text size="sm" c="var(--mantine-color-error)" role="alert">
          {keep.error.message}
        </Text>
      )}
    </>
  );
}

function Examples({ fileId, cause }: { fileId: string; cause: CauseObject }) {
  const [open, setOpen] = useState<number | null>(cause.examples[0]?.line ?? null);
  return (
    <>
      <Table fz="sm" layout="fixed">
        <Table.Thead>
          <Table.Tr>
            <Table.Th scope="col" w={90}>
              Line
            </Table.Th>
            <Table.Th scope="col">Found</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {cause.examples.slice(0, 20).map((example) => (
            <Table.Tr key={`${example.line} ${example.path}`}>
              <Table.Td>
                <Anchor
                  component="button"
                  type="button"
                  size="sm"
                  aria-expanded={open === example.line}
                  onClick={() => setOpen(open === example.line ? null : example.line)}
                >
                  {count(example.line)}
                </Anchor>
              </Table.Td>
              <Table.Td>
                {example.path && example.path !== cause.path && (
                  <>
                    <Code>{example.path}</Code>{" "}
                  </>
                )}
                <Untrusted text={example.found} />
                {open === example.line && <RawLine fileId={fileId} line={example.line} found={example.found} />}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      {cause.count > Math.min(cause.examples.length, 20) && (
        <Text size="xs" c="dimmed">
          and {plural(cause.count - Math.min(cause.examples.length, 20), "line")} more
        </Text>
      )}
    </>
  );
}

/** The line as it stands in the file, what was found marked in it. */
function RawLine({ fileId, line, found }: { fileId: string; line: number; found: string }) {
  const row = useQuery(rowQuery(fileId, line));
  if (row.isError) return <Failure error={row.error} />;
  if (!row.data || row.data.line !== line) return null;
  const [before, marked, after] = around(row.data.raw, found);
  return (
    <pre className={classes.raw} title={`Line ${line} as it stands`}>
      <Untrusted text={before} />
      {marked && (
        <mark className={classes.mark}>
          <Untrusted text={marked} />
        </mark>
      )}
      <Untrusted text={after} />
    </pre>
  );
}
