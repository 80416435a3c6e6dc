import { catalog, type ErrorCode } from "../errors/catalog.ts";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { isObject } from "../jobs/envelope.ts";
import { backoffMs } from "../util/backoff.ts";
import { pause } from "../util/pause.ts";

/** An instance's job API and the key to it. */
export interface InstanceAddress {
  /** Without a slash at its end. */
  readonly base: string;
  readonly apiKey: string;
}

export interface InstanceAnswer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface Patience {
  /** The instance has answered before: when it is away now, it may come back. */
  readonly wasThere: boolean;
  /** Called when it is asked again later, with the reason. */
  onWait?(reason: string, delayMs: number): void;
}

const tryMs = 120_000;
const firstTryMs = 20_000;
/** So long an instance may say "later", or be away. */
const busyMs = 600_000;
const awayMs = 120_000;
const longestWaitMs = 60_000;
const pace = { firstMs: 500, factor: 2, maxMs: 15_000, jitter: 0.3 };
const later = new Set([429, 502, 503, 504]);

/**
 * One question to an instance. "Later" (429, 502, 503, 504) is obeyed, for as long as Retry-After says, up to 10 minutes in all; an
 * instance that was there before may be away for 2 minutes. Throws `supervise.no-instance`, `job.unauthorized`, or what the instance
 * says of itself. A POST is repeated only because its caller gave the job an id: the same id again gives the job that is there.
 */
export async function askJobApi(
  { base, apiKey }: InstanceAddress,
  path: string,
  { method = "GET", body, signal, patience }: { method?: "GET" | "POST"; body?: string; signal: AbortSignal; patience: Patience },
): Promise<InstanceAnswer> {
  const startedMs = performance.now();
  const headers = {
    accept: "application/json",
    ...(apiKey && { authorization: `Bearer ${apiKey}` }),
    ...(body !== undefined && { "content-type": "application/json" }),
  };
  for (let tries = 1; ; tries++) {
    let reason: string;
    let delayMs = backoffMs(tries, pace);
    let limitMs = awayMs;
    let error: FettleError;
    const answerMs = patience.wasThere ? tryMs : firstTryMs;
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
      const response = await fetch(`${base}${path}`, { method, headers, ...(body !== undefined && { body }), redirect: "error", signal: limit });
      const answer = { status: response.status, body: parse(await response.text()) };
      if (answer.status === 401 || answer.status === 403) throw unauthorized(base, apiKey);
      if (!later.has(answer.status)) return answer;
      reason = `HTTP ${answer.status}`;
      delayMs = retryAfterMs(response.headers.get("retry-after")) ?? delayMs;
      limitMs = busyMs;
      error = saysOfItself(`${base}${path}`, answer);
    } catch (thrown) {
      if (thrown instanceof FettleError) throw thrown;
      signal.throwIfAborted();
      reason = thrown instanceof Error && thrown.name === "TimeoutError" ? `no answer within ${answerMs / 1000} s` : reasonOf(rootOf(thrown));
      error = new FettleError("supervise.no-instance", `Cannot reach ${base}: ${reason}.`, {
        hint: "Is it running there? `fettle health --url` asks it.",
        cause: thrown,
      });
      if (!patience.wasThere) throw error;
    }
    if (performance.now() - startedMs + delayMs > limitMs) throw error;
    patience.onWait?.(reason, delayMs);
    await pause(delayMs, { signal });
    signal.throwIfAborted();
  }
}

/** The error behind an answer that is no success, in the instance's own words where it has some. */
export function saysOfItself(url: string, { status, body }: InstanceAnswer): FettleError {
  const message = typeof body["error"] === "string" && body["error"] !== "" ? body["error"] : `Cannot use ${url}: it answered with HTTP ${status}.`;
  const options = {
    ...(typeof body["hint"] === "string" && { hint: body["hint"] }),
    ...(typeof body["path"] === "string" && { where: { path: body["path"] } }),
  };
  return new FettleError(codeOf(body["code"]) ?? "source.unreachable", message, { ...options, details: { status } });
}

export function codeOf(value: unknown): ErrorCode | undefined {
  return typeof value === "string" && Object.hasOwn(catalog, value) ? (value as ErrorCode) : undefined;
}

function unauthorized(base: string, apiKey: string): FettleError {
  return new FettleError("job.unauthorized", `Cannot use ${base}: it ${apiKey ? "does not take this key" : "wants a key"}.`, {
    hint: apiKey ? "Look at FETTLE_API_KEY, or sources.http.apiKey of the configuration in use." : "Set FETTLE_API_KEY to the apiKey of its sources.http.",
  });
}

/** Seconds or a date, as HTTP has it; at most a minute, for a clock may be wrong. */
function retryAfterMs(text: string | null): number | undefined {
  if (text === null) return undefined;
  const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.min(longestWaitMs, Math.max(100, ms));
}

function rootOf(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof Error ? rootOf(error.cause) : error;
}

function parse(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}
