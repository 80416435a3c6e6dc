import type { ProbeSpec } from "../plan/probe-spec.ts";
import { pause } from "../util/pause.ts";
import { type Check, type CheckResult, refused } from "./check.ts";

export type Pace = Pick<ProbeSpec, "periodMs" | "timeoutMs" | "startupMs" | "logEvery">;

export type ReadyOutcome =
  | { readonly type: "ready"; readonly tries: number }
  | { readonly type: "too-late"; readonly tries: number; readonly reason: string }
  | { readonly type: "aborted" };

export interface WaitOptions {
  readonly signal: AbortSignal;
  /** Called each `logEvery` failed tries. */
  onWaiting(tries: number, reason: string): void;
}

/** The first pause. A service that is ready at once costs its dependants milliseconds, a slow one is asked every `periodMs`. */
const firstPauseMs = 5;
const growth = 1.5;

/** Asks until the check passes, the start takes longer than `startupMs`, or the signal aborts. */
export async function waitUntilReady(check: Check, pace: Pace, { signal, onWaiting }: WaitOptions): Promise<ReadyOutcome> {
  const endMs = pace.startupMs > 0 ? performance.now() + pace.startupMs : Number.POSITIVE_INFINITY;
  let pauseMs = Math.min(firstPauseMs, pace.periodMs);
  for (let tries = 1; ; tries++) {
    const result = await tryOnce(check, Math.min(pace.timeoutMs, endMs - performance.now()), signal);
    if (signal.aborted) return { type: "aborted" };
    if (result.ok) return { type: "ready", tries };
    if (pace.logEvery > 0 && tries % pace.logEvery === 0) onWaiting(tries, result.reason);
    if (performance.now() + pauseMs >= endMs) return { type: "too-late", tries, reason: result.reason };
    await pause(pauseMs, { signal });
    pauseMs = Math.min(pace.periodMs, pauseMs * growth);
  }
}

export interface WatchOptions {
  readonly signal: AbortSignal;
  /** Called when readiness is lost, with the reason, and when it is back, without one. */
  onChange(lost: string | undefined): void;
  /** Pause between two tries while all is well; default 5 s. While something is wrong a fifth of it. */
  readonly relaxedMs?: number;
  /** Failures in a row until readiness counts as lost; default 3. One success brings it back. */
  readonly failures?: number;
}

/** After the first readiness: keeps asking at a relaxed pace until the signal aborts. */
export async function watchReadiness(check: Check, pace: Pace, { signal, onChange, relaxedMs = 5000, failures = 3 }: WatchOptions): Promise<void> {
  let failed = 0;
  for (;;) {
    await pause(failed === 0 ? relaxedMs : relaxedMs / 5, { signal });
    if (signal.aborted) return;
    const result = await tryOnce(check, pace.timeoutMs, signal);
    if (signal.aborted) return;
    if (result.ok && failed >= failures) onChange(undefined);
    failed = result.ok ? 0 : failed + 1;
    if (!result.ok && failed === failures) onChange(result.reason);
  }
}

async function tryOnce(check: Check, timeoutMs: number, signal: AbortSignal): Promise<CheckResult> {
  if (signal.aborted) return refused("it was called off");
  const attempt = new AbortController();
  const end = () => attempt.abort();
  const timer = setTimeout(end, Math.max(1, timeoutMs));
  signal.addEventListener("abort", end, { once: true });
  try {
    return await check({ signal: attempt.signal });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
  }
}
