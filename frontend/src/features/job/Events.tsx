import { Badge, Button, Group, SegmentedControl, Stack, Text, TextInput } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { answer, api } from "@/api/client";
import { isOver } from "@/api/jobs";
import { usePolling } from "@/api/polling";
import type { JobShape } from "@/api/schema";
import { dateTime } from "@/ui/format";
import { useLater } from "@/ui/later";
import { Empty, Loaded } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import classes from "./job.module.css";

const COLOURS = { info: "gray", warn: "orange", error: "red" } as const;

/** What happened, the newest first; searched by the server. */
export function Events({ job }: { job: JobShape }) {
  const { level, text } = useSearch({ from: "/frame/jobs/$jobId" });
  const navigate = useNavigate({ from: "/jobs/$jobId" });
  const poll = usePolling();
  const over = isOver(job.status);
  const find = useLater(
    (typed: string) => navigate({ search: (old) => ({ ...old, text: typed || undefined }), replace: true }),
    250,
  );
  const events = useInfiniteQuery({
    queryKey: ["job", job.id, "events", { level, text, over }],
    queryFn: ({ pageParam }) =>
      answer(
        api.GET("/v1/fine_tuning/jobs/{job_id}/events", {
          params: { path: { job_id: job.id }, query: { after: pageParam, limit: 100, level, text } },
        }),
      ),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => (page.has_more ? (page.last_id ?? undefined) : undefined),
    placeholderData: keepPreviousData,
    refetchInterval: () => poll(over),
    refetchIntervalInBackground: true,
  });
  const rows = events.data?.pages.flatMap((page) => page.data) ?? [];
  return (
    <Stack gap="md">
      <Group gap="md" align="flex-end">
        <TextInput
          label="Search"
          defaultValue={text}
          onChange={(event) => find(event.currentTarget.value)}
          w={{ base: "100%", sm: 260 }}
        />
        <SegmentedControl
          aria-label="Level"
          value={level ?? "all"}
          onChange={(next) =>
            navigate({
              search: (old) => ({ ...old, level: next === "all" ? undefined : (next as typeof level) }),
              replace: true,
            })
          }
          data={[
            { value: "all", label: "All" },
            { value: "info", label: "Info" },
            { value: "warn", label: "Warnings" },
            { value: "error", label: "Errors" },
          ]}
        />
      </Group>
      <Loaded query={events} lines={10} isEmpty={() => rows.length === 0} empty={<Empty title="No event fits." />}>
        {() => (
          <ol className={classes.events} aria-label="Events">
            {rows.map((event) => (
              <li key={event.id} className={classes.event}>
                <Text size="xs" c="dimmed" span>
                  {dateTime(event.created_at)}
                </Text>
                <span>
                  <Badge size="sm" variant="light" color={COLOURS[event.level]} tt="none" radius="sm">
                    {event.level}
                  </Badge>
                </span>
                <Untrusted text={event.message} />
              </li>
            ))}
          </ol>
        )}
      </Loaded>
      {events.hasNextPage && (
        <Button
          variant="default"
          loading={events.isFetchingNextPage}
          onClick={() => events.fetchNextPage()}
          style={{ alignSelf: "flex-start" }}
        >
          Older events
        </Button>
      )}
    </Stack>
  );
}
