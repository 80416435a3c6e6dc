import { arch } from "node:os";
import { reasonOf } from "../../errors/fettle-error.ts";
import { version } from "../../version.ts";

/** One request to the platform: no redirects of ours to follow, no default timeout of the runtime. */
export interface RunpodRequest {
  readonly url: string;
  readonly method?: "GET" | "POST";
  readonly apiKey: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Blob;
}

export type RunpodAnswer =
  | { readonly type: "answered"; readonly response: Response }
  | { readonly type: "dropped"; readonly reason: string }
  | { readonly type: "aborted" };

const userAgent = `fettle/${version} (${process.platform}; ${arch()})`;

/** Sends it and gives back the answer's head; a broken connection is a value. */
export async function askRunpod(request: RunpodRequest, { signal }: { signal: AbortSignal }): Promise<RunpodAnswer> {
  const { url, method = "GET", apiKey, headers, body } = request;
  try {
    const response = await fetch(url, {
      method,
      signal,
      headers: { "User-Agent": userAgent, ...(apiKey && { Authorization: apiKey }), ...headers },
      ...(body && { body }),
    });
    return { type: "answered", response };
  } catch (error) {
    return signal.aborted ? { type: "aborted" } : { type: "dropped", reason: reasonFrom(error) };
  }
}

/** Reads an answer that nobody needs, so that its connection can be used again. */
export async function discard(response: Response): Promise<void> {
  await response.arrayBuffer().catch(() => {});
}

function reasonFrom(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return reasonOf(cause);
}

/** An abort signal with a time limit whose timer and listener go when it is disposed. */
export function limitedSignal(
  outer: AbortSignal,
  limitMs: number,
): { readonly signal: AbortSignal; readonly isTimeUp: () => boolean; [Symbol.dispose](): void } {
  const controller = new AbortController();
  let timeUp = false;
  const onAbort = () => controller.abort();
  const timer = setTimeout(() => {
    timeUp = true;
    controller.abort();
  }, limitMs);
  if (outer.aborted) controller.abort();
  outer.addEventListener("abort", onAbort, { once: true });
  return {
    signal: controller.signal,
    isTimeUp: () => timeUp,
    [Symbol.dispose]() {
      clearTimeout(timer);
      outer.removeEventListener("abort", onAbort);
    },
  };
}
