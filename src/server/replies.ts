import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { catalog, type ErrorCode } from "../errors/catalog.ts";
import type { Envelope } from "../jobs/envelope.ts";
import type { JobView } from "../jobs/sources/http.ts";
import { streamBody } from "./stream-body.ts";

export interface RequestError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string;
  /** The field that is wrong. */
  readonly path?: string;
}

/** A request's error: `error` is a sentence as RunPod's clients expect, the rest stands beside it. */
export function replyError(c: Context, status: ContentfulStatusCode, { code, message, hint, path }: RequestError): Response {
  return c.json({ error: message, code, hint: hint ?? catalog[code].hint, ...(path && { path }) }, status);
}

/** 400 for text that is no JSON, 413 for too much of it, 422 for JSON that is no job. */
export function replyFault(c: Context, { kind, fault }: Envelope & { type: "broken" }): Response {
  return replyError(c, kind === "syntax" ? 400 : kind === "size" ? 413 : 422, fault);
}

/**
 * A job as RunPod shows it. Its output can be large: the head is written here, and the body file `{"output": …}` or
 * `{"error": …}` follows from the disk without its first byte, never parsed and never held whole.
 */
export async function replyJob(c: Context, view: JobView): Promise<Response> {
  const { id, status, result, retries } = view;
  if (!result) return c.json({ id, status, ...(retries > 0 && { retries }) });
  const facts = {
    id,
    status,
    delayTime: result.delayMs,
    executionTime: result.executionMs,
    ...(result.code && { errorCode: result.code }),
    ...(retries > 0 && { retries }),
  };
  const head = Buffer.from(`${JSON.stringify(facts).slice(0, -1)},`);
  const body = await streamBody(head, result);
  if (!body) return replyError(c, 404, { code: "job.unknown", message: `Cannot find the result of job ${id}: it has been removed.` });
  return c.body(body, 200, { "Content-Type": "application/json", "Content-Length": String(head.length + result.sizeBytes - 1) });
}
