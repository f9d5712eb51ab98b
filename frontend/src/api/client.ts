/**
 * The one way to the server. Types come from its OpenAPI document (`npm run api`).
 *
 *   const files = await answer(api.GET("/v1/files", { params: { query: { purpose: "fine-tune" } } }));
 *
 * A failure is thrown as ApiError. The session's cookie goes along by itself; nothing here knows an API key.
 */
import createClient, { type Middleware } from "openapi-fetch";
import { ApiError, failureOf, Unreachable } from "./errors";
import { chosenProject } from "./project";
import type { paths } from "./schema";

function cookie(name: string): string {
  const found = document.cookie.split("; ").find((pair) => pair.startsWith(`${name}=`));
  return found ? decodeURIComponent(found.slice(name.length + 1)) : "";
}

/** What every request carries: proof that this page sent it, and the project it is about. */
export function requestHeaders(): Record<string, string> {
  const project = chosenProject();
  return { "X-CSRFToken": cookie("csrftoken"), ...(project ? { "OpenAI-Project": project } : {}) };
}

const carryHeaders: Middleware = {
  onRequest({ request }) {
    for (const [name, value] of Object.entries(requestHeaders())) request.headers.set(name, value);
    return request;
  },
  async onResponse({ response }) {
    if (!response.ok) throw await failureOf(response);
    return response;
  },
  onError({ error }) {
    return error instanceof ApiError ? error : new Unreachable();
  },
};

export const api = createClient<paths>({ baseUrl: window.location.origin, credentials: "same-origin" });
api.use(carryHeaders);

/** The body of an answer, for use in queries and mutations. */
export async function answer<T>(call: Promise<{ data?: T }>): Promise<T> {
  return (await call).data as T;
}
