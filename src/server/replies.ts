import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { catalog, type ErrorCode } from "../errors/catalog.ts";
import type { Envelope } from "../jobs/envelope.ts";
import { headOf } from "../jobs/job-head.ts";
import type { JobView, Submission } from "../jobs/sources/http-desk.ts";
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

/** 503 with a time to come again; 422 for a body that cannot be taken; 409 for a job that is not in a state for it. */
export function replyRefused(c: Context, refused: Submission & { type: "refused" }): Response {
  if (refused.kind === "busy") {
    c.header("Retry-After", String(refused.retryAfterSeconds));
    return replyError(c, 503, refused.failure);
  }
  const status = refused.failure.code === "job.too-large" ? 413 : refused.kind === "conflict" && refused.path === undefined ? 409 : 422;
  return replyError(c, status, { ...refused.failure, ...(refused.path && { path: refused.path }) });
}

/**
 * A job as RunPod shows it. Its output can be large: the head is written here, and the body file `{"output": …}` or
 * `{"error": …}` follows from the disk without its first byte, never parsed and never held whole.
 */
export async function replyJob(c: Context, view: JobView, { withRecord = false }: { withRecord?: boolean } = {}): Promise<Response> {
  const { id, status, result, retries, progress, record } = view;
  const more = withRecord && record !== undefined ? { record: JSON.parse(record) as unknown } : {};
  if (!result) {
    const { note, ...rest } = progress ?? {};
    return c.json({
      id,
      status,
      ...(retries > 0 && { retries }),
      ...(note !== undefined && { output: note }),
      ...("fraction" in rest && { progress: rest }),
      ...more,
    });
  }
  const head = headOf(result, { retries, more });
  const body = await streamBody(head, result);
  if (!body) return replyError(c, 404, { code: "job.unknown", message: `Cannot find the result of job ${id}: it has been removed.` });
  return c.body(body, 200, { "Content-Type": "application/json", "Content-Length": String(head.length + result.sizeBytes - 1) });
}
