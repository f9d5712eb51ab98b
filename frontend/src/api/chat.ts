/** Chat completions as they are written, token by token. */
import { requestHeaders } from "./client";
import { ApiError, failureOf, Unreachable } from "./errors";

export interface ChatRequest {
  model: string;
  messages: { role: string; content: string }[];
  temperature?: number;
  max_completion_tokens?: number;
  seed?: number;
}

interface ManyRequest extends ChatRequest {
  /** How many answers. */
  n: number;
}

export interface Reply {
  content: string;
  reasoning: string;
  finishReason: string | null;
  promptTokens: number | null;
  completionTokens: number | null;
}

export const EMPTY_REPLY: Reply = {
  content: "",
  reasoning: "",
  finishReason: null,
  promptTokens: null,
  completionTokens: null,
};

/** Asks a model; `onReply` gets the whole reply so far, again and again. Throws ApiError, Unreachable or AbortError. */
export async function streamChat(
  request: ChatRequest,
  onReply: (reply: Reply) => void,
  signal: AbortSignal,
): Promise<Reply> {
  const response = await posted({ ...request, stream: true, stream_options: { include_usage: true } }, signal);
  if (!response.body) throw new Unreachable();
  let reply = EMPTY_REPLY;
  let rest = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return reply;
    const { payloads, rest: left } = cutFrames(rest + value);
    rest = left;
    for (const payload of payloads) {
      if (payload !== "[DONE]") reply = extended(reply, JSON.parse(payload));
    }
    if (payloads.length > 0) onReply(reply);
  }
}

interface Whole {
  choices: { message: { content: string | null; reasoning_content?: string | null }; finish_reason: string | null }[];
  usage: { prompt_tokens: number; completion_tokens: number };
}

/** Several answers at once, each whole. `completionTokens` is that of all of them. */
export async function sampleChat(request: ManyRequest, signal: AbortSignal): Promise<Reply[]> {
  const { choices, usage }: Whole = await (await posted(request, signal)).json();
  return choices.map(({ message, finish_reason }) => ({
    content: message.content ?? "",
    reasoning: message.reasoning_content ?? "",
    finishReason: finish_reason,
    promptTokens: usage.prompt_tokens,
    completionTokens: usage.completion_tokens,
  }));
}

const PATIENCE = 20;

/** A model server that was just started needs some seconds until it answers. */
async function posted(body: object, signal: AbortSignal): Promise<Response> {
  for (let tries = 0; ; tries += 1) {
    const response = await post(body, signal);
    if (response.ok) return response;
    const mayComeUp = response.status === 503 && response.headers.has("retry-after");
    if (!mayComeUp || tries >= PATIENCE) throw await failureOf(response);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

function post(body: object, signal: AbortSignal): Promise<Response> {
  return fetch("/v1/chat/completions", {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json", ...requestHeaders() },
    body: JSON.stringify(body),
    signal,
  }).catch((error) => {
    throw error instanceof DOMException ? error : new Unreachable();
  });
}

/** The payloads of the complete `data:` lines, and what of the next one is there already. */
export function cutFrames(text: string): { payloads: string[]; rest: string } {
  const lines = text.split(/\r?\n/);
  const rest = lines.pop() ?? "";
  const payloads = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
  return { payloads, rest };
}

interface Chunk {
  error?: { message: string; code: string | null; param: string | null };
  choices?: { delta?: { content?: string | null; reasoning_content?: string | null }; finish_reason?: string | null }[];
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
}

/** The reply with one more chunk. Throws ApiError: the server broke off and says why. */
export function extended(reply: Reply, chunk: Chunk): Reply {
  if (chunk.error) throw new ApiError(502, chunk.error.message, chunk.error.code, chunk.error.param, null);
  const choice = chunk.choices?.[0];
  return {
    content: reply.content + (choice?.delta?.content ?? ""),
    reasoning: reply.reasoning + (choice?.delta?.reasoning_content ?? ""),
    finishReason: choice?.finish_reason ?? reply.finishReason,
    promptTokens: chunk.usage?.prompt_tokens ?? reply.promptTokens,
    completionTokens: chunk.usage?.completion_tokens ?? reply.completionTokens,
  };
}
