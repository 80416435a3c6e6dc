import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { canonicalJson } from "../../util/canonical-json.ts";
import type { AnswerReader, Attempt, AttemptResult, ConnectOptions, RunOptions } from "../engine.ts";
import { type Patience, stopJob } from "./interrupt.ts";
import { buildJobRequest } from "./job-request.ts";
import { type Base, ConnectionLost, postJson } from "../request.ts";
import { watchProgress } from "./watch-progress.ts";

/** What each job of a batch may have of its own. */
const ownKeys = new Set(["prompt", "negative_prompt", "seed", "force_task_id"]);
/** What the bundled engine's shared pass cannot do; it would refuse the whole batch. */
const alone = ["init_images", "enable_hr", "subseed_strength", "save_images", "script_name", "alwayson_scripts", "override_settings"];

/** Attempts with the same key may share a call of the bundled engine; undefined: this one may not. */
export function batchKey({ input, call }: Attempt): string | undefined {
  if (call !== undefined && !call.endsWith("/sdapi/v1/txt2img")) return undefined;
  if ((input["batch_size"] ?? 1) !== 1 || (input["n_iter"] ?? 1) !== 1) return undefined;
  if (alone.some((key) => isSet(input[key]))) return undefined;
  const shared = Object.fromEntries(Object.entries(input).filter(([key]) => !ownKeys.has(key)));
  return createHash("sha256").update(canonicalJson(shared)).digest("hex");
}

function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === 0 || value === "") return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

export interface BatchOptions {
  readonly base: Base;
  readonly options: ConnectOptions;
  readonly patience: Patience;
  readonly everyMs: number;
}

/**
 * Several attempts in one call of the bundled engine: one line of its answer for each. `one-by-one`: the engine refused them together
 * (prompts of different length, memory) or gave no full answer; nothing of it counts, and each must be run alone.
 */
export async function runBatch(
  attempts: readonly Attempt[],
  { signal, ...listeners }: RunOptions,
  { base, options, patience, everyMs }: BatchOptions,
): Promise<readonly AttemptResult[] | "one-by-one"> {
  const requests = attempts.map((attempt) => buildJobRequest(attempt, "diffusers"));
  if (requests.some((request) => "type" in request)) return "one-by-one";
  const taskId = `batch-${attempts[0]?.id ?? ""}`;
  const body = JSON.stringify({ requests: attempts.map(({ input }) => input), force_task_id: taskId });
  const ending = new AbortController();
  const hangUp = new AbortController();
  const watching = watchProgress({ base, taskId, everyMs, listeners }, ending.signal);
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), options.timeoutMs * attempts.length);
  const stop = AbortSignal.any([signal, late.signal]);
  const exchange = readAnswers(attempts, { base, body, options, hangUp: hangUp.signal });
  try {
    const stopped = new Promise<"stopped">((resolve) => {
      if (stop.aborted) resolve("stopped");
      else stop.addEventListener("abort", () => resolve("stopped"), { once: true, signal: ending.signal });
    });
    const first = await Promise.race([exchange, stopped]);
    if (first !== "stopped" && !stop.aborted) return first;
    const letGo = await stopJob({ base, taskId, ended: exchange, ...patience });
    hangUp.abort();
    await exchange;
    const remedy = letGo ? {} : { remedy: "restart" as const };
    if (signal.aborted) return attempts.map(() => ({ type: "cancelled", ...remedy }));
    const message = `Cannot run the job: the engine took longer than ${options.timeoutMs * attempts.length} ms for ${attempts.length} jobs in one call.`;
    return attempts.map(() => ({ type: "failed", code: "engine.timeout", message, retryable: false, ...remedy }));
  } finally {
    clearTimeout(timer);
    ending.abort();
    await watching;
  }
}

interface Exchange {
  readonly base: Base;
  readonly body: string;
  readonly options: ConnectOptions;
  readonly hangUp: AbortSignal;
}

async function readAnswers(attempts: readonly Attempt[], { base, body, options, hangUp }: Exchange): Promise<readonly AttemptResult[] | "one-by-one"> {
  const startedMs = performance.now();
  const readers: AnswerReader[] = [];
  let response: IncomingMessage | undefined;
  try {
    response = await postJson(base, "/sdapi/v1/txt2img-batch", body, { signal: hangUp });
    if (response.statusCode !== 200) return "one-by-one";
    for (const attempt of attempts) readers.push(await options.readAnswer(attempt));
    if (!(await dealLines(response, readers))) return "one-by-one";
    const engineMs = performance.now() - startedMs;
    const verdicts = await Promise.all(readers.map((reader) => reader.end()));
    return verdicts.map((verdict): AttemptResult => {
      if (verdict.type === "good") return { type: "done", output: verdict.output, engineMs, batch: attempts.length };
      return { type: "failed", code: verdict.code, message: verdict.message, retryable: false, ...(verdict.details && { details: verdict.details }) };
    });
  } catch (error) {
    if (!(error instanceof ConnectionLost)) return "one-by-one";
    const message = `Cannot run the job: the connection to the engine broke while it worked on ${attempts.length} jobs in one call.`;
    return attempts.map(() => ({ type: "failed", code: "engine.lost", message, retryable: true }));
  } finally {
    response?.destroy();
    await Promise.all(readers.map((reader) => reader.discard()));
  }
}

/** Each line's bytes to its own reader, as they come. False: not as many lines as readers, or a reader wants no more. */
async function dealLines(response: IncomingMessage, readers: readonly AnswerReader[]): Promise<boolean> {
  let line = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      for (let from = 0; from < chunk.length;) {
        const end = chunk.indexOf(0x0a, from);
        const piece = chunk.subarray(from, end === -1 ? chunk.length : end);
        const reader = readers[line];
        if (!reader) return false;
        // A reader that has seen enough has its verdict; the others want their lines all the same.
        if (piece.length > 0) await reader.write(piece);
        from = end === -1 ? chunk.length : end + 1;
        if (end !== -1) line += 1;
      }
    }
  } catch (error) {
    throw new ConnectionLost(String(error), { cause: error });
  }
  if (!response.complete) throw new ConnectionLost("the answer broke off");
  return line === readers.length - 1;
}
