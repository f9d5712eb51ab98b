/** What the server says when it refuses: the error envelope of the API, and the request's id for its log. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code: string | null,
    readonly param: string | null,
    readonly requestId: string | null,
  ) {
    super(message);
  }
}

/** No answer at all: the server is away, or the network is. */
export class Unreachable extends Error {
  constructor() {
    super("The server cannot be reached.");
  }
}

export async function failureOf(response: Response): Promise<ApiError> {
  const requestId = response.headers.get("x-request-id");
  try {
    const { error } = await response.json();
    return new ApiError(response.status, String(error.message), error.code ?? null, error.param ?? null, requestId);
  } catch {
    const message = `The server answered ${response.status} without saying why.`;
    return new ApiError(response.status, message, null, null, requestId);
  }
}

/** Whether the same request may work in a moment: the server is away or overloaded, not: it said no. */
export function mayPass(error: unknown): boolean {
  return !(error instanceof ApiError) || error.status >= 500 || error.status === 429;
}
