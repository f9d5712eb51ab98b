import { Stack, Text } from "@mantine/core";
import classes from "./chat.module.css";
import { Untrusted } from "./Untrusted";

export interface Message {
  role: string;
  content: unknown;
}

/** A conversation as it will be read by the model: who says what. */
export function Chat({ messages }: { messages: readonly Message[] }) {
  return (
    <Stack gap="xs">
      {messages.map((message, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the messages of one row never move
        <div key={index} className={classes.message} data-role={message.role}>
          <Text size="xs" fw={600} c="dimmed">
            {String(message.role)}
          </Text>
          <Untrusted text={textOf(message.content)} />
        </div>
      ))}
    </Stack>
  );
}

/** The text of a content: a string, or the text of its parts; what is neither, as JSON. */
export function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (content === null || content === undefined) return "";
  if (!Array.isArray(content)) return JSON.stringify(content);
  return content.map((part) => (typeof part?.text === "string" ? part.text : JSON.stringify(part))).join("\n");
}

/** The messages of a dataset row, if it has any. */
export function messagesOf(row: Record<string, unknown> | null): Message[] {
  const messages = row?.messages;
  if (!Array.isArray(messages)) return [];
  return messages.filter((message): message is Message => typeof message === "object" && message !== null);
}
