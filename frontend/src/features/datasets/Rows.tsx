import { Button, Code, Group, Stack, Switch, Tabs, Text, TextInput } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useRef, useState } from "react";
import type { FileRow } from "@/api/schema";
import { Chat, messagesOf, textOf } from "@/ui/Chat";
import { Dialog } from "@/ui/Dialog";
import { plural } from "@/ui/format";
import { useKeys } from "@/ui/keys";
import { Empty, Loaded } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import { VirtualTable } from "@/ui/VirtualTable";
import classes from "./datasets.module.css";
import { rowQuery, rowsQuery } from "./queries";
import type { DatasetSearch } from "./search";

interface RowsProps {
  fileId: string;
  total: number;
  search: DatasetSearch;
  onSearch: (change: Partial<DatasetSearch>) => void;
}

export function Rows({ fileId, total, search, onSearch }: RowsProps) {
  const { contains, bad, line } = search;
  const rows = useInfiniteQuery(rowsQuery(fileId, { contains, bad }));
  const fetched = rows.data?.pages.flatMap((page) => page.data) ?? [];
  const all = !rows.hasNextPage;
  const input = useRef<HTMLInputElement>(null);
  useKeys({ "/": () => input.current?.focus() });
  return (
    <Stack gap="sm">
      <Group>
        <Search key={contains} ref={input} text={contains} onSearch={(text) => onSearch({ contains: text })} />
        <Switch
          label="Only rows with an error"
          checked={bad ?? false}
          onChange={(event) => onSearch({ bad: event.currentTarget.checked || undefined })}
        />
        <Text size="sm" c="dimmed" role="status">
          {plural(fetched.length, "row")}
          {all ? "" : " so far"}
        </Text>
      </Group>
      <Loaded
        query={rows}
        lines={12}
        isEmpty={(data) => data.pages[0]?.data.length === 0}
        empty={<Empty title={contains || bad ? "No row fits the filter." : "The file has no rows."} />}
      >
        {() => (
          <VirtualTable
            label="Rows"
            rows={fetched}
            total={all ? fetched.length : Math.max(total, fetched.length + 1)}
            rowKey={(row) => row.id}
            onOpen={(row) => onSearch({ line: row.line })}
            onEnd={() => !rows.isFetchingNextPage && rows.fetchNextPage()}
            columns={[
              { key: "line", header: "Line", width: "72px", align: "right", cell: (row) => row.line },
              {
                key: "prompt",
                header: "Prompt",
                width: "minmax(180px, 3fr)",
                cell: (row) => <Untrusted line text={promptOf(row)} />,
              },
              { key: "fields", header: "Other fields", width: "minmax(140px, 2fr)", cell: fieldsOf },
            ]}
          />
        )}
      </Loaded>
      {line !== undefined && <RowDialog fileId={fileId} line={line} onClose={() => onSearch({ line: undefined })} />}
    </Stack>
  );
}

interface SearchProps {
  ref: React.Ref<HTMLInputElement>;
  text: string | undefined;
  onSearch: (text: string | undefined) => void;
}

function Search({ ref, text, onSearch }: SearchProps) {
  const [typed, setTyped] = useState(text ?? "");
  return (
    <form
      className={classes.search}
      onSubmit={(event) => {
        event.preventDefault();
        onSearch(typed || undefined);
      }}
    >
      <TextInput
        ref={ref}
        type="search"
        aria-label="Rows with this text"
        placeholder="Rows with this text"
        value={typed}
        onChange={(event) => setTyped(event.currentTarget.value)}
      />
      <Button type="submit" variant="default">
        Search
      </Button>
    </form>
  );
}

function promptOf(row: FileRow): string {
  const messages = messagesOf(row.value);
  const asked = messages.findLast((message) => message.role === "user") ?? messages.at(-1);
  return asked ? textOf(asked.content).slice(0, 300) : row.raw.slice(0, 300);
}

function fieldsOf(row: FileRow) {
  const problem = row.problems.find((one) => one.severity === "error");
  if (problem) return <span className={classes.wrong}>{problem.message}</span>;
  const fields = Object.entries(row.value ?? {}).filter(([name]) => name !== "messages" && name !== "tools");
  return (
    <Untrusted
      line
      text={fields
        .map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)
        .join("   ")
        .slice(0, 300)}
    />
  );
}

function RowDialog({ fileId, line, onClose }: { fileId: string; line: number; onClose: () => void }) {
  const row = useQuery(rowQuery(fileId, line));
  return (
    <Dialog title={`Line ${line}`} size="xl" onClose={onClose}>
      <Loaded
        query={row}
        isEmpty={(data) => data?.line !== line}
        empty={<Empty title="There is no row on this line." />}
      >
        {(data) => <RowDetails row={data!} />}
      </Loaded>
    </Dialog>
  );
}

function RowDetails({ row }: { row: FileRow }) {
  const fields = Object.entries(row.value ?? {}).filter(([name]) => name !== "messages");
  return (
    <Stack>
      {row.problems.map((problem) => (
        <Text
          key={problem.code + problem.path}
          size="sm"
          className={problem.severity === "error" ? classes.wrong : undefined}
        >
          {problem.path && <Code>{problem.path}</Code>} {problem.message}; found {problem.found}, expected{" "}
          {problem.expected}
        </Text>
      ))}
      <Tabs defaultValue={row.value ? "chat" : "raw"} keepMounted={false}>
        <Tabs.List>
          <Tabs.Tab value="chat" disabled={!row.value}>
            Conversation
          </Tabs.Tab>
          <Tabs.Tab value="raw">JSON</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="chat" pt="md">
          <Stack>
            <Chat messages={messagesOf(row.value)} />
            {fields.length > 0 && (
              <dl className={classes.fields}>
                {fields.map(([name, value]) => (
                  <div key={name}>
                    <dt>
                      <Code>item.{name}</Code>
                    </dt>
                    <dd>
                      <Untrusted text={typeof value === "string" ? value : JSON.stringify(value, null, 2)} />
                    </dd>
                  </div>
                ))}
              </dl>
            )}
          </Stack>
        </Tabs.Panel>
        <Tabs.Panel value="raw" pt="md">
          <pre className={classes.raw}>
            <Untrusted text={row.value ? JSON.stringify(row.value, null, 2) : row.raw} />
          </pre>
        </Tabs.Panel>
      </Tabs>
    </Stack>
  );
}
