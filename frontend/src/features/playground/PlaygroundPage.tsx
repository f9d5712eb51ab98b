import { Button, Group, NumberInput, SimpleGrid, Stack, Text, Textarea } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { modelsQuery } from "@/api/models";
import type { FileRow } from "@/api/schema";
import { messagesOf, textOf } from "@/ui/Chat";
import { useLater } from "@/ui/later";
import { Page } from "@/ui/Page";
import { Copy } from "@/ui/Secret";
import { Loaded } from "@/ui/states";
import { asPython } from "./as-python";
import { useJob } from "./grading";
import { Pane } from "./Pane";
import { RowPicker } from "./RowPicker";
import { addressed, MAX_ANSWERS, MAX_PANES, MAX_TEMPERATURE, type PlaygroundSearch, USUAL } from "./search";

const route = getRouteApi("/frame/playground");
const LATER_MS = 300;

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
  const [prompt, setPrompt] = useState(search.prompt ?? "");
  const [row, setRow] = useState<FileRow | null>(null);
  const [temperature, setTemperature] = useState<number>(search.temperature ?? USUAL.temperature);
  const [maxTokens, setMaxTokens] = useState<number>(search.tokens ?? USUAL.tokens);
  const [numAnswers, setNumAnswers] = useState<number>(search.answers ?? USUAL.answers);
  const [question, setQuestion] = useState<Question | null>(null);
  const [running, setRunning] = useState<ReadonlySet<number>>(new Set());
  const stop = useRef(new AbortController());
  useEffect(() => () => stop.current.abort(), []);

  const note = (changes: PlaygroundSearch) =>
    navigate({ search: (before) => ({ ...before, ...changes }), replace: true });
  const noteLater = useLater(note, LATER_MS);
  const choose = (models: string[]) => note({ models });
  const take = (loaded: FileRow | null) => {
    setRow(loaded);
    if (loaded && search.prompt === undefined) setPrompt(promptOf(loaded));
  };
  const pick = (file: string | undefined, line: number | undefined) => {
    if (file === undefined) setRow(null);
    noteLater({}); // in place of what was typed before, which is another prompt's
    note({ file, line, prompt: undefined });
  };
  const unchanged = row !== null && prompt === promptOf(row);
  // biome-ignore lint/correctness/useExhaustiveDependencies: written when one of these changed
  useEffect(() => {
    noteLater({
      prompt: unchanged ? undefined : addressed(prompt),
      temperature: temperature === USUAL.temperature ? undefined : temperature,
      tokens: maxTokens === USUAL.tokens ? undefined : maxTokens,
      answers: numAnswers === USUAL.answers ? undefined : numAnswers,
    });
  }, [prompt, unchanged, temperature, maxTokens, numAnswers]);
  const heldOut = useJob(chosen)?.validation_file;
  const messages = unchanged ? conversationOf(row) : [{ role: "user", content: prompt }];
  const ask = () => {
    stop.current = new AbortController();
    setRunning(new Set(chosen.keys()));
    setQuestion((before) => ({
      turn: (before?.turn ?? 0) + 1,
      messages,
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
          placeholder="What they are to answer. Ctrl Enter asks."
          value={prompt}
          onChange={(event) => setPrompt(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && prompt && !isRunning) ask();
          }}
        />
        {heldOut && !prompt && !search.file && (
          <Group gap="sm">
            <Button variant="default" onClick={() => pick(heldOut, 1)}>
              Take a held-out row of its job
            </Button>
            <Text size="sm" c="dimmed">
              Its answers are graded, too.
            </Text>
          </Group>
        )}
        <Group align="flex-end" gap="sm">
          <NumberInput
            label="Temperature"
            w={110}
            min={0}
            max={MAX_TEMPERATURE}
            step={0.1}
            value={temperature}
            onChange={(value) => setTemperature(Number(value) || USUAL.temperature)}
          />
          <NumberInput
            label="Most tokens"
            w={110}
            min={1}
            value={maxTokens}
            onChange={(value) => setMaxTokens(Number(value) || USUAL.tokens)}
          />
          <NumberInput
            label="Answers"
            w={90}
            min={1}
            max={MAX_ANSWERS}
            value={numAnswers}
            onChange={(value) => setNumAnswers(Math.min(MAX_ANSWERS, Math.max(1, Number(value) || USUAL.answers)))}
          />
          <RowPicker file={search.file} line={search.line} onChoose={pick} onLoaded={take} />
          {isRunning ? (
            <Button variant="default" onClick={() => stop.current.abort()}>
              Stop
            </Button>
          ) : (
            <Button onClick={ask} disabled={!prompt.trim()} title="Ctrl Enter">
              Ask
            </Button>
          )}
          {prompt.trim() && (
            <Copy label="Copy as Python" text={asPython(chosen, { messages, temperature, maxTokens, numAnswers })} />
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
