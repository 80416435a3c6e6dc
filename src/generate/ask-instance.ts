import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../config/schema/index.ts";
import { askUrl, type AskUrlOptions } from "../control/ask-url.ts";
import type { EngineOutput } from "../engines/engine.ts";
import { catalog, type ErrorCode } from "../errors/catalog.ts";
import { FettleError } from "../errors/fettle-error.ts";
import { createAnswerReader } from "../results/answer-reader.ts";
import { pause } from "../util/pause.ts";
import type { JobBody } from "./read-job.ts";

export interface AskOptions {
  /** The job API: `http://127.0.0.1:8000`, or RunPod's own `https://api.runpod.ai/v2/ENDPOINT`. */
  readonly url: string;
  /** Sent as a Bearer token when not empty. */
  readonly apiKey: string;
  readonly input: JobBody;
  readonly config: Pick<Config, "jobs">;
  readonly dir: string;
  readonly signal: AbortSignal;
}

export interface Asked {
  readonly output: EngineOutput;
  readonly jobId: string;
  readonly engineMs: number;
}

const pollMs = 500;
const ended = ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"];

/** Sends one job to a running instance and waits for its end; a job that is called off is cancelled there too. */
export async function askInstance({ url, apiKey, input, config, dir, signal }: AskOptions): Promise<Asked> {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new FettleError("cli.bad-value", `Cannot use --url ${url}: expected an address such as http://127.0.0.1:8000.`);
  }
  const base = url.replace(/\/+$/, "");
  const headers = apiKey ? { authorization: `Bearer ${apiKey}` } : {};
  let answer = await call(`${base}/runsync`, { method: "POST", headers, body: { input }, signal });
  const id = String(answer["id"] ?? "");
  const cancel = () => void fetch(`${base}/cancel/${encodeURIComponent(id)}`, { method: "POST", headers }).catch(() => undefined);
  signal.addEventListener("abort", cancel, { once: true });
  try {
    while (!ended.includes(String(answer["status"]))) {
      await pause(pollMs, { signal });
      answer = await call(`${base}/status/${encodeURIComponent(id)}`, { headers, signal });
    }
  } finally {
    signal.removeEventListener("abort", cancel);
  }
  if (answer["status"] !== "COMPLETED") throw failureOf(answer, id);
  return { output: await checkedOutput(answer["output"], { input, dir, config }), jobId: id, engineMs: Number(answer["executionTime"] ?? 0) };
}

/** The answer when it is one; what the other side says of itself is its own sentence and code. */
async function call(url: string, options: AskUrlOptions): Promise<Readonly<Record<string, unknown>>> {
  const { ok, status, body } = await askUrl(url, options);
  if (ok && Object.keys(body).length > 0) return body;
  const message = typeof body["error"] === "string" ? body["error"] : `Cannot use ${url}: it answered with status ${status}.`;
  throw new FettleError(codeOf(body["code"]) ?? "source.unreachable", message, { ...(typeof body["hint"] === "string" && { hint: body["hint"] }) });
}

/** A failed job says why as text or as an object; its code is fettle's own when the other side is fettle. */
function failureOf(answer: Readonly<Record<string, unknown>>, id: string): FettleError {
  const { error, status } = answer;
  const text = typeof error === "string" ? error : error === undefined ? undefined : JSON.stringify(error);
  const code = codeOf(answer["errorCode"]) ?? (status === "CANCELLED" ? "job.cancelled" : status === "TIMED_OUT" ? "engine.timeout" : "engine.failed");
  return new FettleError(code, text ?? `Cannot generate: job ${id} ended as ${String(status)}.`, { details: { id } });
}

function codeOf(value: unknown): ErrorCode | undefined {
  return typeof value === "string" && Object.hasOwn(catalog, value) ? (value as ErrorCode) : undefined;
}

/** The images are looked at here as well: what is written must be an image, whoever made it. */
async function checkedOutput(output: unknown, { input, dir, config }: Pick<AskOptions, "input" | "dir" | "config">): Promise<EngineOutput> {
  const attemptDir = join(dir, "attempt");
  mkdirSync(attemptDir, { recursive: true });
  const reader = await createAnswerReader({ dir: attemptDir, input }, { blackImages: config.jobs.blackImages, keepImages: true });
  await reader.write(Buffer.from(JSON.stringify(output ?? null)));
  const verdict = await reader.end();
  if (verdict.type === "good") return verdict.output;
  throw new FettleError(verdict.code, verdict.message, { ...(verdict.details && { details: verdict.details }) });
}
