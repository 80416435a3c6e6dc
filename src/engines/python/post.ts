import { Buffer } from "node:buffer";
import { type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";

export const askMs = 5000;

/** The child was not reached, so nothing has begun. */
export class NotReached extends Error {
  override readonly name = "NotReached";
}

const notSent = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);

/** Posts JSON and resolves with the answer's head. By node:http and a connection of its own, for the reasons in ../request.ts. */
export function post(url: string, body: unknown, { signal }: { signal: AbortSignal }): Promise<IncomingMessage> {
  const bytes = Buffer.from(JSON.stringify(body));
  const send = url.startsWith("https:") ? requestHttps : requestHttp;
  const headers = { "content-type": "application/json", "content-length": bytes.length };
  return new Promise((resolve, reject) => {
    const request = send(url, { method: "POST", agent: false, headers, signal });
    request.once("response", resolve);
    request.once("error", (error: NodeJS.ErrnoException) => {
      if (signal.aborted) reject(signal.reason);
      else
        reject(notSent.has(error.code ?? "") ? new NotReached(error.code === "ECONNREFUSED" ? "connection refused" : error.message, { cause: error }) : error);
    });
    request.end(bytes);
  });
}

/** What the child says of itself; undefined when it does not answer, or is something else. */
export interface ChildState {
  readonly ready: boolean;
  readonly slots: number;
  readonly running: number;
}

export async function askState(url: string, { signal }: { signal: AbortSignal }): Promise<ChildState | undefined> {
  try {
    const response = await fetch(`${url}/ready`, { signal });
    const body = (await response.json()) as { engine?: unknown; slots?: unknown; running?: unknown };
    if (body.engine !== "python") return undefined;
    return { ready: response.status === 200, slots: Number(body.slots), running: Number(body.running) };
  } catch {
    return undefined;
  }
}

/** A small order. Throws when it does not arrive. */
export async function order(url: string, path: string, body: unknown, { signal }: { signal: AbortSignal }): Promise<void> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body), signal });
  await response.text();
  if (!response.ok) throw new Error(`the handler's process answered with HTTP ${response.status}`);
}
