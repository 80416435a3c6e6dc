import { randomUUID } from "node:crypto";
import type { Config } from "../config/schema/index.ts";
import type { EngineOutput } from "../engines/engine.ts";
import { catalog, type ErrorCode } from "../errors/catalog.ts";
import { FettleError } from "../errors/fettle-error.ts";
import { isObject } from "../jobs/envelope.ts";
import { createAnswerReader } from "../results/answer-reader.ts";
import { pause } from "../util/pause.ts";
import { askJobApi, codeOf, type InstanceAddress, type InstanceAnswer, type Patience, saysOfItself } from "./instance-request.ts";
import type { Job } from "./job.ts";
import { asAnswer } from "./output-images.ts";
import type { Made, Target, TargetRun } from "./target.ts";

export interface InstanceOptions {
  /** The job API: `http://127.0.0.1:8000`, or RunPod's own `https://api.runpod.ai/v2/ENDPOINT`. */
  readonly url: string;
  /** Sent as a Bearer token when not empty. */
  readonly apiKey: string;
  readonly config: Pick<Config, "jobs">;
  readonly onWait?: Patience["onWait"];
  readonly signal: AbortSignal;
}

const ended = ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"];
const cancelMs = 5000;
const mostSlots = 64;

/** Connects to the job API of a running instance. Throws when nobody answers there or the key is wrong, before any job is sent. */
export async function targetThere({ url, apiKey, config, onWait, signal }: InstanceOptions): Promise<Target> {
  const instance = { base: baseOf(url), apiKey };
  const wait = onWait && { onWait };
  const { body } = await askJobApi(instance, "/health", { signal, patience: { wasThere: false, ...wait } });
  const workers = isObject(body["workers"]) ? body["workers"] : {};
  const ready = Math.max(Number(workers["ready"] ?? 0) || 0, (Number(workers["idle"] ?? 0) || 0) + (Number(workers["running"] ?? 0) || 0));
  return {
    slots: Math.min(mostSlots, Math.max(1, ready)),
    canQueue: true,
    run: (job, options) => runThere(instance, job, options, { config, patience: { wasThere: true, ...wait } }),
    [Symbol.asyncDispose]: async () => undefined,
  };
}

function baseOf(url: string): string {
  const refused = (reason: string) =>
    new FettleError("cli.bad-value", `Cannot use --url: ${reason}.`, { hint: "Write it like http://127.0.0.1:8000; a key goes into FETTLE_API_KEY." });
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) throw refused(`${url} is no http address`);
  const { origin, pathname, username, password } = new URL(url);
  if (username || password) throw refused("the address holds a user or a password");
  return `${origin}${pathname.replace(/\/+$/, "")}`;
}

interface Talk {
  readonly config: Pick<Config, "jobs">;
  readonly patience: Patience;
}

/** Sends one job and waits for its end; a job that is called off is cancelled there too. */
async function runThere(instance: InstanceAddress, job: Job, { dir, signal, sentAs, onSent }: TargetRun, { config, patience }: Talk): Promise<Made> {
  const ask = (path: string, more: { method?: "POST"; body?: string } = {}) => askJobApi(instance, path, { ...more, signal, patience });
  // An id of our own makes sending twice harmless. The job's id is not it: under that, a changed job would get its former result.
  let id = sentAs ?? `generate-${randomUUID()}`;
  try {
    let answer = sentAs === undefined ? undefined : await known(ask, sentAs);
    if (!answer) {
      if (sentAs !== undefined) id = `generate-${randomUUID()}`;
      onSent?.(id);
      answer = good(`${instance.base}/run`, await ask("/run", { method: "POST", body: JSON.stringify({ ...job.extra, id, input: job.input }) }));
      const given = String(answer["id"]);
      if (given !== id) onSent?.((id = given));
    }
    const startedMs = performance.now();
    while (!ended.includes(String(answer["status"]))) {
      // Asking costs at most a twentieth of the time that passes anyway.
      await pause(Math.min(1000, Math.max(25, (performance.now() - startedMs) / 20)), { signal });
      signal.throwIfAborted();
      answer = good(`${instance.base}/status`, await ask(`/status/${encodeURIComponent(id)}`));
    }
    if (answer["status"] !== "COMPLETED") throw failureOf(answer, id);
    const output = await checkedOutput(await asAnswer(answer["output"], { signal }), { input: job.input, dir, config });
    return { output, engineMs: Number(answer["executionTime"] ?? 0) || 0 };
  } catch (error) {
    if (signal.aborted) await cancel(instance, id);
    throw error;
  }
}

/** The job that a former run sent, if the instance still knows it and it may still end well. */
async function known(ask: (path: string) => Promise<InstanceAnswer>, id: string): Promise<InstanceAnswer["body"] | undefined> {
  const { status, body } = await ask(`/status/${encodeURIComponent(id)}`);
  const isAlive = status === 200 && typeof body["id"] === "string" && !["FAILED", "CANCELLED", "TIMED_OUT"].includes(String(body["status"]));
  return isAlive ? body : undefined;
}

function good(url: string, answer: InstanceAnswer): InstanceAnswer["body"] {
  const { status, body } = answer;
  if (status >= 200 && status < 300 && typeof body["id"] === "string" && typeof body["status"] === "string") return body;
  if (status >= 200 && status < 300)
    throw new FettleError("source.unreachable", `Cannot use ${url}: what answers there is no job API.`, {
      hint: "Name the port of sources.http, 8000 unless configured.",
    });
  throw saysOfItself(url, answer);
}

/** A failed job says why as text or as an object; its code is fettle's own when the other side is fettle. */
function failureOf(answer: Readonly<Record<string, unknown>>, id: string): FettleError {
  const { error, status } = answer;
  const text = typeof error === "string" ? error : error === undefined || error === null ? undefined : JSON.stringify(error);
  const code = codeOf(answer["errorCode"]) ?? (status === "CANCELLED" ? "job.cancelled" : status === "TIMED_OUT" ? "engine.timeout" : "engine.failed");
  return new FettleError(code, plain(text, code) ?? `Cannot generate: job ${id} ended as ${String(status)}.`, { details: { id } });
}

/** fettle writes code, message and hint into one text, as RunPod's clients want it. */
function plain(text: string | undefined, code: ErrorCode): string | undefined {
  const [head, tail] = [`${code}: `, ` ${catalog[code].hint}`];
  const body = text?.startsWith(head) ? text.slice(head.length) : text;
  return body?.endsWith(tail) ? body.slice(0, -tail.length) : body;
}

/** Tells the instance that nobody waits any more; it may be gone, so this takes a few seconds at most and never fails. */
async function cancel(instance: InstanceAddress, id: string): Promise<void> {
  const signal = AbortSignal.timeout(cancelMs);
  await askJobApi(instance, `/cancel/${encodeURIComponent(id)}`, { method: "POST", signal, patience: { wasThere: false } }).catch(() => undefined);
}

/** The images are looked at here as well: what is written must be an image, whoever made it. */
async function checkedOutput(
  answer: object,
  { input, dir, config }: { input: Job["input"]; dir: string; config: Pick<Config, "jobs"> },
): Promise<EngineOutput> {
  const reader = await createAnswerReader({ dir, input }, { blackImages: config.jobs.blackImages, keepImages: true });
  await reader.write(Buffer.from(JSON.stringify(answer)));
  const verdict = await reader.end();
  if (verdict.type === "good") return verdict.output;
  throw new FettleError(verdict.code, verdict.message, { ...(verdict.details && { details: verdict.details }) });
}
