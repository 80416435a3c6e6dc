import type { ProbeSpec } from "../plan/probe-spec.ts";
import { pause, untilBeat } from "../util/pause.ts";
import { type Check, type CheckResult, refused } from "./check.ts";

export type Pace = Pick<ProbeSpec, "periodMs" | "timeoutMs" | "startupMs" | "logEvery" | "successes" | "failures" | "watchMs">;

export type ReadyOutcome =
  | { readonly type: "ready"; readonly tries: number }
  | { readonly type: "too-late"; readonly tries: number; readonly reason: string }
  | { readonly type: "aborted" };

export interface WaitOptions {
  readonly signal: AbortSignal;
  /** Called each `logEvery` failed tries, not counting those of the first rush. */
  onWaiting(tries: number, reason: string): void;
}

/** Early tries come close together, so that nobody waits much longer than the start itself took: a tenth of it, at most `periodMs`. */
const shortestPauseMs = 2;
const shareOfStart = 0.1;

/** Asks until the check passes, the start takes longer than `startupMs`, or the signal aborts. */
export async function waitUntilReady(check: Check, pace: Pace, { signal, onWaiting }: WaitOptions): Promise<ReadyOutcome> {
  const beganMs = performance.now();
  const endMs = pace.startupMs > 0 ? beganMs + pace.startupMs : Number.POSITIVE_INFINITY;
  let passedInRow = 0;
  let atFullPace = 0;
  for (let tries = 1; ; tries++) {
    const result = await tryOnce(check, Math.min(pace.timeoutMs, endMs - performance.now()), signal);
    if (signal.aborted) return { type: "aborted" };
    passedInRow = result.ok ? passedInRow + 1 : 0;
    if (result.ok && passedInRow >= (pace.successes ?? 1)) return { type: "ready", tries };
    const pauseMs = Math.min(pace.periodMs, Math.max(shortestPauseMs, (performance.now() - beganMs) * shareOfStart));
    if (!result.ok && pauseMs === pace.periodMs && pace.logEvery > 0 && ++atFullPace % pace.logEvery === 0) onWaiting(atFullPace, result.reason);
    if (!result.ok && performance.now() + pauseMs >= endMs) return { type: "too-late", tries, reason: result.reason };
    await pause(pauseMs, { signal });
  }
}

export interface WatchOptions {
  readonly signal: AbortSignal;
  /** Called when readiness is lost, with the reason, and when it is back, without one. */
  onChange(lost: string | undefined): void;
}

/** One try after the first readiness may take this long, however patient the start is: a program that hangs must be noticed. */
const watchTimeoutMs = 10_000;

/**
 * After the first readiness: asks each `watchMs` (10 s), five times as often while something is wrong, until the signal aborts. Readiness is
 * lost after `failures` (3) in a row; `successes` (1) in a row bring it back.
 */
export async function watchReadiness(check: Check, pace: Pace, { signal, onChange }: WatchOptions): Promise<void> {
  const { watchMs = 10_000, failures = 3, successes = 1 } = pace;
  let passedInRow = 0;
  let isLost = false;
  let failed = 0;
  for (;;) {
    await untilBeat(failed === 0 && !isLost ? watchMs : watchMs / 5, { signal });
    if (signal.aborted) return;
    const result = await tryOnce(check, Math.min(pace.timeoutMs, watchTimeoutMs), signal);
    if (signal.aborted) return;
    failed = result.ok ? 0 : failed + 1;
    passedInRow = result.ok ? passedInRow + 1 : 0;
    const wasLost: boolean = isLost;
    isLost = wasLost ? passedInRow < successes : failed >= failures;
    if (isLost !== wasLost) onChange(result.ok ? undefined : result.reason);
  }
}

/** One try, cut off after `timeoutMs`. */
export async function tryOnce(check: Check, timeoutMs: number, signal: AbortSignal): Promise<CheckResult> {
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
