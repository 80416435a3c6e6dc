/** The protocol's rules a worker must keep, checked on every request. Gives sentences; an empty list means it kept them all. */
import { type BodyRecord, headerOf, type JobRecord, type RequestRecord } from "./runpod-records.ts";

const methods = { "job-done": "POST", "job-stream": "POST" } as Record<string, string>;

/** What is wrong with a request before its body is read. */
export function brokenRules(request: RequestRecord, apiKey: string): string[] {
  const broken: string[] = [];
  const { endpoint, method, query, url } = request;
  if (endpoint === "unknown") return [`${method} ${url} is no endpoint of the platform`];
  if (method !== (methods[endpoint] ?? "GET")) broken.push(`${endpoint} called with ${method}`);
  if (headerOf(request, "authorization") !== apiKey) broken.push(`${endpoint} without the raw key as Authorization`);
  if (/\$(ID|RUNPOD_)/.test(decodeURIComponent(url))) broken.push(`${endpoint} with an unreplaced token: ${url}`);
  if (request.workerId === "") broken.push(`${endpoint} without a worker id: ${url}`);
  if (endpoint.startsWith("job-take") && !/^[01]$/.test(query.get("job_in_progress") ?? "")) {
    broken.push(`${endpoint} without job_in_progress=0|1`);
  }
  if (endpoint === "job-take-batch" && !/^[1-9]\d*$/.test(query.get("batch_size") ?? "")) {
    broken.push("job-take-batch without a batch_size");
  }
  if (endpoint in methods && !/^(true|false)$/.test(query.get("isStream") ?? "")) {
    broken.push(`${endpoint} without isStream=true|false`);
  }
  if (endpoint === "ping" && !query.get("runpod_version")) broken.push("ping without runpod_version");
  return broken;
}

/** What is wrong with a posted body. Bodies over the keep limit are checked by their first bytes only. */
export function brokenBody(request: RequestRecord, body: BodyRecord, job: JobRecord | undefined): string[] {
  const name = `${request.endpoint} of ${request.jobId}`;
  if (!job || job.handouts.length === 0) return [`${name}: that job was never handed out`];
  const broken: string[] = [];
  const accepted = job.results.find((post) => post.accepted);
  if (accepted && isProgress(body)) broken.push(`${name}: progress after the result`);
  if (accepted && request.endpoint === "job-stream") broken.push(`${name}: a chunk after the result`);
  if (request.endpoint === "job-done" && !isProgress(body)) {
    const first = job.results[0];
    if (first && first.sha256 !== body.sha256) broken.push(`${name}: a repeat differs from the first post`);
  }
  if (body.text === undefined) return /^\s*\{/.test(body.head) ? broken : [...broken, `${name}: not a JSON object`];
  try {
    const value: unknown = JSON.parse(body.text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) broken.push(`${name}: not a JSON object`);
    else if ("error" in value && typeof value.error !== "string") broken.push(`${name}: error is not a string`);
  } catch {
    broken.push(`${name}: not JSON`);
  }
  return broken;
}

/** Progress travels on job-done too; only its body tells it from a result. */
export function isProgress(body: BodyRecord): boolean {
  return /^\s*\{\s*"status"\s*:\s*"IN_PROGRESS"/.test(body.head);
}
