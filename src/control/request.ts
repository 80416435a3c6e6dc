import { type ClientRequest, type IncomingMessage, request as requestHttp } from "node:http";
import type { ErrorJson } from "../errors/print.ts";
import { type ErrorCode, catalog } from "../errors/catalog.ts";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";

export interface ControlRequest {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
}

/** Sends one request over the socket and gives the answer at its head; an error answer or no answer is a FettleError. */
export async function openRequest(socketPath: string, { method, path, body, signal }: ControlRequest): Promise<IncomingMessage> {
  signal?.throwIfAborted();
  const text = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request: ClientRequest = requestHttp({
      socketPath,
      method,
      path,
      agent: false,
      headers: text ? { "content-type": "application/json", "content-length": text.length } : {},
    });
    const cut = () => void request.destroy();
    signal?.addEventListener("abort", cut, { once: true });
    request.once("response", resolve).once("close", () => signal?.removeEventListener("abort", cut));
    request.on("error", (error) => reject(signal?.aborted ? (signal.reason as Error) : noInstance(socketPath, error)));
    request.end(text);
  });
  if ((response.statusCode ?? 0) < 400) return response;
  throw errorOf(await readText(response), response.statusCode ?? 0);
}

export async function readText(response: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

function noInstance(socketPath: string, cause: unknown): FettleError {
  return new FettleError("supervise.no-instance", `Cannot reach fettle at ${socketPath}: ${reasonOf(cause)}.`, { cause, details: { socket: socketPath } });
}

function errorOf(text: string, status: number): FettleError {
  try {
    const { error } = JSON.parse(text) as { error: ErrorJson };
    if (Object.hasOwn(catalog, error.code)) return new FettleError(error.code as ErrorCode, error.message, { hint: error.hint });
  } catch {
    // Not ours, or cut off: the status has to do.
  }
  return new FettleError("supervise.no-instance", `Cannot use the answer of fettle: status ${status}.`);
}
