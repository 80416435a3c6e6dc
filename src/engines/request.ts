import { Buffer } from "node:buffer";
import { type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";

/** The engine was not reached: nothing was sent, so trying again doubles no work. */
export class NotReached extends Error {
  override readonly name = "NotReached";
}

/** The connection broke after the request may have arrived: the engine may be dead, or still at work on it. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

/** An engine's address and, when its URL names a user, the Basic credentials (A1111 sends no challenge: they go first). */
export interface Base {
  readonly url: string;
  readonly authorization: string | undefined;
}

export function baseOf(text: string): Base {
  const url = new URL(text);
  const authorization = url.username
    ? `Basic ${Buffer.from(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`).toString("base64")}`
    : undefined;
  return { url: `${url.origin}${url.pathname.replace(/\/+$/, "")}`, authorization };
}

const notSent = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);

export interface JsonRequest {
  readonly method: "GET" | "POST";
  readonly path: string;
  /** Undefined: none is sent. */
  readonly body: string | undefined;
}

/**
 * Sends JSON and resolves with the response's head; its body is an async iterable of chunks with backpressure.
 *
 * node:http instead of fetch: Bun's fetch gives up after 360 s without a byte (seen with Bun 1.4.5; a job may take 600 s), node:http
 * waited 620 s in both runtimes. And a connection of its own for each job, because a generation must reach the engine once:
 * Deno's fetch sends a POST again, unasked, when a kept connection breaks before the response (seen: two requests at the server).
 */
export function sendJson(base: Base, { method, path, body }: JsonRequest, { signal }: { signal: AbortSignal }): Promise<IncomingMessage> {
  const url = new URL(base.url + path);
  const bytes = body === undefined ? undefined : Buffer.from(body);
  const content = bytes ? { "content-type": "application/json", "content-length": bytes.length } : {};
  const headers = { ...content, accept: "application/json", ...credentials(base) };
  const send = url.protocol === "https:" ? requestHttps : requestHttp;
  return new Promise((resolve, reject) => {
    const request = send(url, { method, agent: false, headers, signal });
    request.once("response", resolve);
    request.once("error", (error: NodeJS.ErrnoException) => {
      if (signal.aborted) reject(signal.reason);
      else if (notSent.has(error.code ?? "")) reject(new NotReached(error.code === "ECONNREFUSED" ? "connection refused" : error.message, { cause: error }));
      else reject(new ConnectionLost(error.message, { cause: error }));
    });
    request.end(bytes);
  });
}

/** The usual case of `sendJson`. */
export function postJson(base: Base, path: string, body: string, options: { signal: AbortSignal }): Promise<IncomingMessage> {
  return sendJson(base, { method: "POST", path, body }, options);
}

/** A small question: status and parsed JSON (undefined when it is none). Throws when there is no answer. */
export async function askJson(
  base: Base,
  path: string,
  { method = "GET", signal }: { method?: "GET" | "POST"; signal: AbortSignal },
): Promise<{ status: number; body: unknown }> {
  const response = await fetch(base.url + path, { method, headers: credentials(base), signal });
  const text = await response.text();
  try {
    return { status: response.status, body: JSON.parse(text) as unknown };
  } catch {
    return { status: response.status, body: undefined };
  }
}

function credentials({ authorization }: Base): Record<string, string> {
  return authorization ? { authorization } : {};
}
