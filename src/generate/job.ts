// generate/ owns images without a server: jobs from flags or a file, run on an engine that is booted for them (or elsewhere),
// the images checked and written, and what is done remembered. Takes: a config and jobs. Gives: files and what was said of them.
// Uses the same plan, supervisor, connection and image check as `fettle start`; must not know flags or the terminal.
import { FettleError } from "../errors/fettle-error.ts";
import { type Envelope, envelopeLimits, isObject, parseEnvelope } from "../jobs/envelope.ts";
import { JsonScan, JsonScanError } from "../results/json-scan.ts";

export type JobBody = Readonly<Record<string, unknown>>;

export interface Job {
  /** The caller's own id, where the job has one. */
  readonly id: string | undefined;
  readonly input: JobBody;
  /** What stood beside `input` (webhook, policy …); only a running instance can use it. */
  readonly extra: JobBody;
}

export interface JobLimits {
  readonly maxDepth: number;
  readonly maxInput: number;
}

/** Where a job's text stands, for messages. */
export interface JobPlace {
  readonly file: string;
  /** From 1, in a file of many jobs. */
  readonly line?: number;
}

/**
 * Reads one job: RunPod's `{"input": { … }}`, or the bare input, whose `id` (if it has one) names the job.
 * Throws `job.invalid` or `job.too-large` with the place.
 */
export function parseJob(text: string, limits: JobLimits, place: JobPlace): Job {
  const envelope = parseEnvelope(wrap(text, limits), envelopeLimits(limits));
  if (envelope.type === "job") {
    const { id, input, extra } = envelope;
    if (isObject(input)) return { id, input, extra };
    const fault = { code: "job.invalid", message: 'Cannot accept the job: "input" must be a JSON object.', path: "input" } as const;
    throw refused(text, { type: "broken", id, kind: "field", fault }, place);
  }
  throw refused(text, envelope, place);
}

function refused(text: string, { kind, fault }: Envelope & { type: "broken" }, { file, line }: JobPlace): FettleError {
  const { code, message, hint, path } = fault;
  const at = kind === "syntax" ? positionOf(text, limitedDepth) : undefined;
  const spot = at ? { line: (line ?? 1) + at.line - 1, column: at.column } : line === undefined ? {} : { line, column: 1 };
  return new FettleError(code, message, { ...(hint !== undefined && { hint }), where: { file, ...spot, ...(path !== undefined && { path }) } });
}

/** A bare input gets the envelope that it lacks; what is no JSON object is left for the reader to refuse. */
function wrap(text: string, { maxInput }: JobLimits): string {
  if (text.length > maxInput) return text;
  try {
    const value: unknown = JSON.parse(text);
    if (!isObject(value) || value["input"] !== undefined) return text;
    const { id, ...input } = value;
    return JSON.stringify({ ...(id !== undefined && id !== null && { id }), input });
  } catch {
    return text;
  }
}

const limitedDepth = 10_000;

/** Where JSON stops being JSON, from 1 both; the runtimes' own messages differ and some name no place. */
function positionOf(text: string, maxDepth: number): { readonly line: number; readonly column: number } | undefined {
  const bytes = Buffer.from(text);
  let at = bytes.length;
  try {
    const scan = new JsonScan({ watch: "", maxDepth, listener: { onString: () => {}, onPiece: () => {}, onStringEnd: () => {} } });
    scan.push(bytes);
    scan.end();
    return undefined;
  } catch (error) {
    if (!(error instanceof JsonScanError)) throw error;
    const found = /at byte (\d+)/.exec(error.message)?.[1];
    if (found !== undefined) at = Number(found);
  }
  const before = bytes.subarray(0, at).toString("utf8");
  const line = before.split("\n").length;
  return { line, column: before.length - before.lastIndexOf("\n") };
}
