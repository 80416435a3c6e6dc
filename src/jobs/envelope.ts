import { type JobFault } from "./job.ts";
import { scanJson } from "./json-scan.ts";

export interface EnvelopeLimits {
  readonly maxDepth: number;
  readonly maxBytes: number;
}

/** An input's own depth is bounded by the config; the envelope around it is one level more. */
export function envelopeLimits(jobs: { readonly maxDepth: number; readonly maxInput: number }): EnvelopeLimits {
  return { maxDepth: jobs.maxDepth + 1, maxBytes: jobs.maxInput };
}

/** What a caller sent. `broken` keeps the id where one can be read, so that the caller can still be answered. */
export type Envelope =
  | {
      readonly type: "job";
      readonly id: string | undefined;
      /** Any JSON; what an engine makes of it is settled when the job is prepared. */
      readonly input: unknown;
      readonly extra: Readonly<Record<string, unknown>>;
    }
  | { readonly type: "broken"; readonly id: string | undefined; readonly kind: "syntax" | "field" | "size"; readonly fault: JobFault };

/**
 * Reads `{ "id"?, "input": { … }, … }`. Checked by hand: the worker loads no schema library, and keys inside `input`
 * belong to the engine's own dialect and pass untouched.
 */
export function parseEnvelope(text: string, limits: EnvelopeLimits): Envelope {
  if (text.length > limits.maxBytes) {
    const { id } = scanJson(text.slice(0, 4096), limits.maxDepth);
    return broken(usable(id), "size", {
      code: "job.too-large",
      message: `Cannot accept the job: it has ${text.length} bytes, the limit is ${limits.maxBytes}.`,
    });
  }
  const { depth, id: seenId } = scanJson(text, limits.maxDepth);
  if (depth > limits.maxDepth) {
    const message = `Cannot accept the job: its JSON nests deeper than ${limits.maxDepth} levels.`;
    return broken(usable(seenId), "field", { code: "job.invalid", message, hint: "Flatten the input, or raise jobs.maxDepth.", path: "input" });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const message = `Cannot read the job: it is not valid JSON (${clip((error as Error).message)}).`;
    return broken(usable(seenId), "syntax", { code: "job.invalid", message, hint: 'Send {"input": { … }} as JSON.' });
  }
  return readEnvelope(value);
}

/** The same for a value that is parsed already (one of a batch). */
export function readEnvelope(value: unknown): Envelope {
  if (!isObject(value)) return field(undefined, "", `it must be a JSON object with "input", not ${nameOf(value)}`);
  const { id, input, ...extra } = value;
  if (id !== undefined && id !== null && typeof id !== "string") return field(undefined, "id", `"id" must be a string, not ${nameOf(id)}`);
  const known = typeof id === "string" ? usable(id) : undefined;
  if (typeof id === "string" && known === undefined) return field(undefined, "id", '"id" must have 1 to 512 printable characters');
  if (input === undefined) return field(known, "input", '"input" is missing');
  return { type: "job", id: known, input, extra };
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function usable(id: string | undefined): string | undefined {
  // oxlint-disable-next-line no-control-regex -- control characters in an id would reach log lines and header values
  return id !== undefined && id.length > 0 && id.length <= 512 && !/[\u0000-\u001f\u007f]/.test(id) ? id : undefined;
}

function field(id: string | undefined, path: string, reason: string): Envelope {
  return broken(id, "field", { code: "job.invalid", message: `Cannot accept the job: ${reason}.`, ...(path && { path }) });
}

function broken(id: string | undefined, kind: "syntax" | "field" | "size", fault: JobFault): Envelope {
  return { type: "broken", id, kind, fault };
}

function nameOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

function clip(text: string): string {
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}
