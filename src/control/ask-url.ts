import { ofetch } from "ofetch";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";

export interface UrlAnswer {
  readonly status: number;
  readonly ok: boolean;
  /** The JSON object that was answered; empty when it was none. */
  readonly body: Readonly<Record<string, unknown>>;
}

export interface AskUrlOptions {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly signal: AbortSignal;
}

/**
 * Asks a running instance at an address, where its control socket is out of reach. Any status is an answer.
 * A question is repeated on a broken connection; an order (POST) never, it may have been carried out.
 */
export async function askUrl(url: string, { method = "GET", headers = {}, body, signal }: AskUrlOptions): Promise<UrlAnswer> {
  try {
    const response = await ofetch.raw<unknown, "text">(url, {
      method,
      signal,
      headers: { accept: "application/json", ...headers, ...(body !== undefined && { "content-type": "application/json" }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      responseType: "text",
      ignoreResponseError: true,
      retry: method === "GET" ? 2 : 0,
      retryDelay: 250,
      retryStatusCodes: [],
    });
    return { status: response.status, ok: response.ok, body: parseObject(String(response._data)) };
  } catch (error) {
    signal.throwIfAborted();
    throw new FettleError("supervise.no-instance", `Cannot reach ${url}: ${reasonOf(rootOf(error))}.`, { cause: error });
  }
}

function rootOf(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof Error ? rootOf(error.cause) : error;
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
