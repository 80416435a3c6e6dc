import { type EnvelopeLimits, parseEnvelope } from "../envelope.ts";
import type { JobInput } from "../job.ts";
import { scanJson } from "../json-scan.ts";
import { safeId } from "./runpod-id.ts";
import { splitList } from "./split-list.ts";

/** What an answer to a take holds. `unanswerable`: things with no id that an answer could be sent to, as they begin. */
export interface Received {
  readonly jobs: readonly JobInput[];
  readonly unanswerable: readonly string[];
}

/** One job or a list of them; whatever has an id is ours to answer, even if it cannot be read. */
export function readJobs(text: string, limits: EnvelopeLimits): Received {
  const jobs: JobInput[] = [];
  const unanswerable: string[] = [];
  for (const one of /^\s*\[/.test(text) ? splitList(text) : [text]) {
    const job = readJob(one, limits);
    if (job) jobs.push(job);
    else unanswerable.push(one.trim().slice(0, 80));
  }
  return { jobs, unanswerable };
}

function readJob(text: string, limits: EnvelopeLimits): JobInput | undefined {
  const envelope = parseEnvelope(text, limits);
  const common = { source: "runpod", receivedAt: Date.now() };
  if (envelope.type === "job" && envelope.id !== undefined) return { ...common, id: envelope.id, input: envelope.input, extra: envelope.extra };
  const id = envelope.id ?? lenientId(text, limits);
  if (id === undefined) return undefined;
  const fault = envelope.type === "broken" ? envelope.fault : ({ code: "job.invalid", message: 'Cannot accept the job: "id" is missing.' } as const);
  return { ...common, id, input: null, extra: {}, fault };
}

/** An id that is no good for a job but good enough for an answer: too long, with control characters, or a number. */
function lenientId(text: string, { maxDepth, maxBytes }: EnvelopeLimits): string | undefined {
  const { depth, id } = scanJson(text, maxDepth);
  if (id !== undefined) return safeId(id);
  if (depth > maxDepth || text.length > maxBytes) return undefined;
  try {
    const value: unknown = (JSON.parse(text) as { id?: unknown } | null)?.id;
    return typeof value === "string" || (typeof value === "number" && Number.isFinite(value)) ? safeId(String(value)) : undefined;
  } catch {
    return undefined;
  }
}
