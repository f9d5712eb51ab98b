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
  let response = await post(request, signal);
  // A model server that was just started needs some seconds until it answers.
  for (let tries = 0; response.status === 503 && response.headers.has("retry-after") && tries < PATIENCE; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    response = await post(request, signal);
  }
  if (!response.ok || !response.body) throw await failureOf(response);
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

const PATIENCE = 20;

function post(request: ChatRequest, signal: AbortSignal): Promise<Response> {
  return fetch("/v1/chat/completions", {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json", ...requestHeaders() },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
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
