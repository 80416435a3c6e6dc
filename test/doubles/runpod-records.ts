/**
 * What the local RunPod platform remembers: every request with monotonic stamps, every job with its hand-outs and posts.
 * Takes raw requests, gives plain records. Bodies over the keep limit are hashed while they stream and then dropped,
 * so a run with thousands of 15 MB results stays flat in memory. Knows nothing of faults or of waiting.
 */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";

export const endpoints = ["job-take", "job-take-batch", "job-done", "job-stream", "ping", "job-stop"] as const;
export type Endpoint = (typeof endpoints)[number];

/** A job as the platform hands it out: an open object, of which the worker must only need `id` and `input`. */
export type PlatformJob = { id: string; input: unknown; [key: string]: unknown };

/** One HTTP request. Stamps are `performance.now()` milliseconds of the platform's process. */
export type RequestRecord = {
  seq: number;
  endpoint: Endpoint | "unknown";
  method: string;
  url: string;
  query: URLSearchParams;
  workerId: string;
  jobId: string;
  /** Names and values alternating, in the order and spelling sent. */
  rawHeaders: string[];
  arrivedAtMs: number;
  /** The last byte of the body; equals `arrivedAtMs` for a request without one, 0 when it was cut off. */
  bodyEndAtMs: number;
  answeredAtMs: number;
  /** 0 while unanswered, and for ever when the platform cut it; 499 when the worker left a held poll. */
  status: number;
  fault?: string;
};

/** A body that arrived: hash and size always, text only up to the keep limit. */
export type BodyRecord = { sizeBytes: number; sha256: string; head: string; text?: string };

export type PostRecord = BodyRecord & {
  request: RequestRecord;
  postedAtMs: number;
  isStream: string | null;
  /** The platform answered 2xx or 3xx: the caller now has this result. */
  accepted: boolean;
};

export type Handout = { atMs: number; workerId: string; take: RequestRecord; delivered: "writing" | "yes" | "no" };

export type JobRecord = {
  id: string;
  job: PlatformJob;
  submittedAtMs: number;
  handouts: Handout[];
  /** Terminal posts to job-done, repeats included. */
  results: PostRecord[];
  progress: PostRecord[];
  chunks: PostRecord[];
  stop: "none" | "asked" | "delivered" | "forgotten";
};

/** A header's value by its lower-case name, as sent; undefined when absent. */
export function headerOf(record: RequestRecord, name: string): string | undefined {
  for (let index = 0; index < record.rawHeaders.length; index += 2) {
    if (record.rawHeaders[index]?.toLowerCase() === name) return record.rawHeaders[index + 1];
  }
  return undefined;
}

/** `/v2/<endpoint>/<kind>/<worker>[/<job>]?query` → the parts; anything else is `unknown`. */
export function openRecord(request: IncomingMessage, seq: number): RequestRecord {
  const url = request.url ?? "/";
  const [path = "", search = ""] = splitOnce(url, "?");
  const [, , , kind = "", workerId = "", ...rest] = path.split("/");
  const arrivedAtMs = performance.now();
  // RunPod's own simulator names no job in the path of job-done; the header still does.
  const jobId = rest.length > 0 ? decodeURIComponent(rest.join("/")) : String(request.headers["x-request-id"] ?? "");
  return {
    seq,
    endpoint: endpoints.find((known) => known === kind) ?? "unknown",
    method: request.method ?? "GET",
    url,
    query: new URLSearchParams(search),
    workerId: decodeURIComponent(workerId),
    jobId,
    rawHeaders: request.rawHeaders,
    arrivedAtMs,
    bodyEndAtMs: arrivedAtMs,
    answeredAtMs: 0,
    status: 0,
  };
}

/** Streams a body to its end; undefined when the sender cut it off. */
export function readBody(request: IncomingMessage, keepBytes: number): Promise<BodyRecord | undefined> {
  const hash = createHash("sha256");
  let kept: Buffer[] = [];
  let head: Buffer | undefined;
  let sizeBytes = 0;
  return new Promise((resolve) => {
    request.on("data", (chunk: Buffer) => {
      hash.update(chunk);
      head ??= Buffer.from(chunk.subarray(0, 512));
      sizeBytes += chunk.length;
      if (sizeBytes <= keepBytes) kept.push(chunk);
      else kept = [];
    });
    request.on("end", () => {
      const body = { sizeBytes, sha256: hash.digest("hex"), head: head?.toString("utf8") ?? "" };
      resolve(sizeBytes <= keepBytes ? { ...body, text: Buffer.concat(kept).toString("utf8") } : body);
    });
    request.on("error", () => resolve(undefined));
    request.on("close", () => resolve(undefined));
  });
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
