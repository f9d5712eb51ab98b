import { Badge, Group, Switch, Text, UnstyledButton } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, useEffect, useMemo, useRef, useState } from "react";
import { answer, api } from "@/api/client";
import type { RolloutShape } from "@/api/schema";
import { number, signed } from "@/ui/format";
import { useKeys } from "@/ui/keys";
import { Empty, Loaded } from "@/ui/states";
import { Untrusted } from "@/ui/Untrusted";
import { Changes } from "./Changes";
import { earlierQuery } from "./earlier";
import { Marked, MarkedLegend } from "./Marked";
import classes from "./rollouts.module.css";
import { unlikely } from "./unlikely";

interface CompletionsProps {
  jobId: string;
  filters: {
    purpose: "train" | "eval" | "final" | "report";
    row?: number;
    step?: number;
    reward_min?: number;
    reward_max?: number;
    failed?: boolean;
    text?: string;
  };
  /** Say which row each answers. */
  withRow: boolean;
  /** Mark what changed since the answers of this step. */
  against?: number;
  /** Mark the tokens that were unlikely. */
  marked: boolean;
  onMark: (marked: boolean) => void;
}

const PAGE = 200;
/** Tokens are many times the bytes of their text. */
const PAGE_WITH_TOKENS = 50;
const WIDE = 300;

/** The answers, side by side where there is room. Only those in view are in the page, so any number stays smooth. */
export function Completions({ jobId, filters, withRow, against, marked, onMark }: CompletionsProps) {
  const [thinking, setThinking] = useState(false);
  const scroller = useRef<HTMLDivElement>(null);
  const [columns, setColumns] = useState(1);
  const [at, setAt] = useState<number | null>(null);
  const pages = useInfiniteQuery({
    queryKey: ["job", jobId, "rollouts", filters, marked],
    queryFn: ({ pageParam }) =>
      answer(
        api.GET("/v1/fettle/fine_tuning/jobs/{job_id}/rollouts", {
          params: {
            path: { job_id: jobId },
            query: { ...filters, after: pageParam, limit: marked ? PAGE_WITH_TOKENS : PAGE, tokens: marked },
          },
        }),
      ),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => (page.has_more ? (page.last_id ?? undefined) : undefined),
    staleTime: 30_000,
  });
  const found = useMemo(() => pages.data?.pages.flatMap((page) => page.data) ?? [], [pages.data]);
  const earlier = useQuery(earlierQuery(jobId, filters, against));
  const lines = Math.ceil(found.length / columns);
  const virtual = useVirtualizer({
    count: lines,
    getScrollElement: () => scroller.current,
    estimateSize: () => 170,
    overscan: 4,
    onChange: (instance) => {
      const last = instance.range?.endIndex ?? 0;
      if (last >= lines - 4 && pages.hasNextPage && !pages.isFetchingNextPage) pages.fetchNextPage();
    },
  });
  const loaded = pages.data !== undefined;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the box appears when the first page is there
  useEffect(() => {
    if (!scroller.current) return;
    const fit = new ResizeObserver(([entry]) => {
      if (entry) setColumns(Math.max(1, Math.min(4, Math.floor(entry.contentRect.width / WIDE))));
    });
    fit.observe(scroller.current);
    return () => fit.disconnect();
  }, [loaded, found.length === 0]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another choice begins at its first answer
  useEffect(() => {
    setAt(null);
    virtual.scrollToOffset(0);
  }, [JSON.stringify(filters)]);
  const move = (to: number) => {
    const next = Math.max(0, Math.min(to, found.length - 1));
    setAt(next);
    virtual.scrollToIndex(Math.floor(next / columns));
  };
  useKeys({
    t: () => setThinking((shown) => !shown),
    ArrowRight: () => move((at ?? -1) + 1),
    ArrowLeft: () => move((at ?? 1) - 1),
  });
  const thinks = found.some((one) => one.reasoning);
  return (
    <Loaded
      query={pages}
      lines={8}
      isEmpty={() => found.length === 0}
      empty={<Empty title="No answer fits the filters." />}
    >
      {() => (
        <>
          <Group gap="lg">
            {thinks && <Switch label="Show thinking (t)" checked={thinking} onChange={() => setThinking(!thinking)} />}
            <Switch label="Mark unlikely tokens" checked={marked} onChange={() => onMark(!marked)} />
          </Group>
          {marked && <MarkedLegend />}
          <section ref={scroller} className={classes.answers} tabIndex={-1} aria-label="Answers, scrolls">
            <div style={{ height: virtual.getTotalSize(), position: "relative" }}>
              {virtual.getVirtualItems().map((line) => (
                <div
                  key={line.key}
                  ref={virtual.measureElement}
                  data-index={line.index}
                  className={classes.line}
                  style={{
                    transform: `translateY(${line.start}px)`,
                    gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`,
                  }}
                >
                  {found.slice(line.index * columns, (line.index + 1) * columns).map((one, place) => (
                    <Completion
                      key={one.id}
                      rollout={one}
                      thinking={thinking}
                      withRow={withRow}
                      marked={marked}
                      earlier={against === undefined ? undefined : earlier.data?.get(one.sample_index)}
                      current={line.index * columns + place === at}
                    />
                  ))}
                </div>
              ))}
            </div>
          </section>
        </>
      )}
    </Loaded>
  );
}

interface CompletionProps {
  rollout: RolloutShape;
  thinking: boolean;
  withRow: boolean;
  current: boolean;
  marked: boolean;
  /** The answer to compare with. */
  earlier: RolloutShape | undefined;
}

/** Drawn again only when it is another, however often the list scrolls. */
const Completion = memo(function Completion(props: CompletionProps) {
  const { rollout, thinking, withRow, current, marked, earlier } = props;
  const [open, setOpen] = useState<boolean | null>(null);
  const pieces = useMemo(() => (marked ? unlikely(rollout) : null), [marked, rollout]);
  const shown = open ?? thinking;
  return (
    <article className={classes.answer} data-current={current || undefined}>
      <Group gap="xs" justify="space-between" wrap="nowrap" align="flex-start">
        <Text size="sm" fw={600}>
          {rollout.reward === null ? "No grade" : `Reward ${number(rollout.reward)}`}
        </Text>
        <Text size="xs" c="dimmed" ta="right">
          {withRow && `row ${rollout.row + 1}, `}step {rollout.step}
        </Text>
      </Group>
      {rollout.reasoning && (
        <div>
          <UnstyledButton className={classes.fold} aria-expanded={shown} onClick={() => setOpen(!shown)}>
            {shown ? "▾" : "▸"} Thinking, {rollout.num_reasoning_tokens ?? "?"} tokens
          </UnstyledButton>
          {shown && (
            <div className={classes.thinking}>
              {pieces ? <Marked pieces={pieces.reasoning} /> : <Untrusted text={rollout.reasoning} />}
            </div>
          )}
        </div>
      )}
      <div className={classes.text}>
        {earlier ? (
          <Changes before={earlier} after={rollout} />
        ) : pieces && rollout.text ? (
          <Marked pieces={pieces.text} />
        ) : rollout.text ? (
          <Untrusted text={rollout.text} />
        ) : (
          <Text c="dimmed" size="sm">
            an empty answer
          </Text>
        )}
      </div>
      {rollout.sub_rewards && (
        <Text size="xs">
          {Object.entries(rollout.sub_rewards)
            .map(([name, reward]) => `${name} ${number(reward)}`)
            .join(" · ")}
        </Text>
      )}
      <Text size="xs" c="dimmed">
        {rollout.advantage !== null && `advantage ${signed(rollout.advantage)} · `}
        {rollout.num_tokens} tokens · {finish(rollout.finish_reason)}
        {marked && !pieces && " · not known which token wrote what"}
      </Text>
      {(rollout.error || (rollout.error_flags?.length ?? 0) > 0) && (
        <Group gap={4}>
          {rollout.error_flags?.map((flag) => (
            <Badge key={flag} color="orange" variant="light" size="sm" tt="none">
              {flag.replaceAll("_", " ")}
            </Badge>
          ))}
          {rollout.error && (
            <Text size="xs" component="div">
              <Untrusted text={rollout.error} />
            </Text>
          )}
        </Group>
      )}
    </article>
  );
});

function finish(reason: string): string {
  return reason === "length" ? "cut off" : reason === "stop" ? "ended by itself" : reason;
}
