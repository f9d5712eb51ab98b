import { Button, Group, NumberInput, SimpleGrid, Stack, Text, Textarea } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { modelsQuery } from "@/api/models";
import type { FileRow } from "@/api/schema";
import { messagesOf, textOf } from "@/ui/Chat";
import { Page } from "@/ui/Page";
import { Loaded } from "@/ui/states";
import { Pane } from "./Pane";
import { RowPicker } from "./RowPicker";
import { MAX_PANES } from "./search";

const route = getRouteApi("/frame/playground");
/** As many as the server takes. */
const MAX_ANSWERS = 16;

export interface Question {
  /** Grows with every question, so that the same one can be asked again. */
  turn: number;
  messages: { role: string; content: string }[];
  temperature: number;
  maxTokens: number;
  /** More than one: the best of them is shown. */
  numAnswers: number;
  /** The dataset row it is, as long as its prompt was not changed. */
  item: Record<string, unknown> | null;
}

export function PlaygroundPage() {
  const models = useQuery(modelsQuery);
  return (
    <Page title="Playground" lead="Ask several models the same thing.">
      <Loaded query={models}>{(all) => <Panes known={all.map((model) => model.id)} />}</Loaded>
    </Page>
  );
}

function Panes({ known }: { known: string[] }) {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const newest = known.find((id) => id.startsWith("ft:"));
  const chosen = search.models ?? (newest ? [newest.split(":")[1]!, newest] : known.slice(0, 1));
  const [prompt, setPrompt] = useState("");
  const [row, setRow] = useState<FileRow | null>(null);
  const [temperature, setTemperature] = useState(0);
  const [maxTokens, setMaxTokens] = useState(256);
  const [numAnswers, setNumAnswers] = useState(1);
  const [question, setQuestion] = useState<Question | null>(null);
  const [running, setRunning] = useState<ReadonlySet<number>>(new Set());
  const stop = useRef(new AbortController());
  useEffect(() => () => stop.current.abort(), []);

  const choose = (models: string[]) => navigate({ search: (before) => ({ ...before, models }), replace: true });
  const take = (loaded: FileRow | null) => {
    setRow(loaded);
    if (loaded) setPrompt(promptOf(loaded));
  };
  const ask = () => {
    stop.current = new AbortController();
    const unchanged = row !== null && prompt === promptOf(row);
    setRunning(new Set(chosen.keys()));
    setQuestion((before) => ({
      turn: (before?.turn ?? 0) + 1,
      messages: unchanged ? conversationOf(row) : [{ role: "user", content: prompt }],
      temperature,
      maxTokens,
      numAnswers,
      item: unchanged ? row.value : null,
    }));
  };
  const isRunning = running.size > 0;
  return (
    <Stack gap="lg">
      <Stack gap="sm">
        <Textarea
          label="Prompt"
          autosize
          minRows={2}
          maxRows={12}
          value={prompt}
          onChange={(event) => setPrompt(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && prompt && !isRunning) ask();
          }}
        />
        <Group align="flex-end" gap="sm">
          <NumberInput
            label="Temperature"
            w={110}
            min={0}
            max={2}
            step={0.1}
            value={temperature}
            onChange={(value) => setTemperature(Number(value) || 0)}
          />
          <NumberInput
            label="Most tokens"
            w={110}
            min={1}
            value={maxTokens}
            onChange={(value) => setMaxTokens(Number(value) || 256)}
          />
          <NumberInput
            label="Answers"
            w={90}
            min={1}
            max={MAX_ANSWERS}
            value={numAnswers}
            onChange={(value) => setNumAnswers(Math.min(MAX_ANSWERS, Math.max(1, Number(value) || 1)))}
          />
          <RowPicker
            file={search.file}
            line={search.line}
            onChoose={(file, line) => navigate({ search: (before) => ({ ...before, file, line }), replace: true })}
            onLoaded={take}
          />
          {isRunning ? (
            <Button variant="default" onClick={() => stop.current.abort()}>
              Stop
            </Button>
          ) : (
            <Button onClick={ask} disabled={!prompt.trim()} title="Ctrl Enter">
              Ask
            </Button>
          )}
        </Group>
        {numAnswers > 1 && (
          <Text size="sm" c="dimmed">
            {temperature === 0
              ? "At temperature 0 all answers are alike: choose a higher one."
              : "Of several answers the one with the highest grade is shown; without a dataset row, what most say."}
          </Text>
        )}
        {row && prompt !== promptOf(row) && (
          <Text size="sm" c="dimmed">
            The prompt was changed, so the answers are not graded against line {row.line}.
          </Text>
        )}
      </Stack>
      <SimpleGrid cols={{ base: 1, md: Math.max(2, chosen.length) }}>
        {chosen.map((model, index) => (
          <Pane
            // biome-ignore lint/suspicious/noArrayIndexKey: a pane is its place
            key={index}
            model={model}
            known={known}
            question={question}
            signal={stop.current.signal}
            onModel={(id) => choose(chosen.map((old, place) => (place === index ? id : old)))}
            onRemove={chosen.length > 1 ? () => choose(chosen.filter((_, place) => place !== index)) : undefined}
            onEnd={() => setRunning((before) => new Set([...before].filter((place) => place !== index)))}
          />
        ))}
      </SimpleGrid>
      {chosen.length < MAX_PANES && (
        <Button
          variant="default"
          style={{ alignSelf: "flex-start" }}
          disabled={isRunning}
          onClick={() => choose([...chosen, known.find((id) => !chosen.includes(id)) ?? known[0]!])}
        >
          Add a model
        </Button>
      )}
    </Stack>
  );
}

function conversationOf(row: FileRow): Question["messages"] {
  return messagesOf(row.value).map((message) => ({ role: message.role, content: textOf(message.content) }));
}

function promptOf(row: FileRow): string {
  return textOf(messagesOf(row.value).findLast((message) => message.role === "user")?.content);
}
