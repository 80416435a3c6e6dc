import type { StampedEvent } from "../events/event.ts";
import type { Log } from "../log/log.ts";
import { exactDuration } from "../util/duration.ts";

/** An observer: the boot's phases in seed 002's words, "[SUCCESS] Phase 1 completed in 2.345s (target: 8s)". */
export function createPhaseReport(log: Log): (event: StampedEvent) => void {
  let first: { readonly job: string; told: boolean } | undefined;
  return (event) => {
    const about = "phase" in event ? { event: event.type, phase: event.phase } : { event: event.type };
    switch (event.type) {
      case "phase.started":
        return log.info(`Phase ${event.number}: ${event.title}${target(event.targetMs)}`, about);
      case "phase.warned":
        return log.warn(`Phase ${event.number}: ${event.member} ${event.reason}`, { ...about, name: event.member });
      case "phase.completed":
        sayDone(log, `Phase ${event.number}`, event, about);
        if (event.usualMs !== undefined && isSlow(event.afterMs, event.usualMs))
          log.info(`Phase ${event.number} usually takes ${seconds(event.usualMs)} on this machine.`, about);
        return;
      case "phase.failed":
        return log.error(`Phase ${event.number} failed after ${seconds(event.afterMs)}: ${event.reason}`, about);
      case "boot.completed":
        return sayDone(log, "Startup", event, about);
      case "job.done":
        first ??= { job: event.job, told: false };
        return;
      // The worker's events come in batches, so their stamps say nothing of the time between them.
      case "job.sent":
        if (first?.job !== event.job || first.told) return;
        first.told = true;
        return log.info(`The first job took ${seconds(event.totalMs)}.`, about);
      default:
        return;
    }
  };
}

interface Done {
  readonly afterMs: number;
  readonly targetMs?: number;
  readonly failed: readonly string[];
}

function sayDone(log: Log, what: string, { afterMs, targetMs, failed }: Done, about: Readonly<Record<string, unknown>>): void {
  const line = `${what} completed in ${seconds(afterMs)}${target(targetMs)}`;
  if (failed.length === 0) log.success(line, about);
  else log.warn(`${line} without ${failed.join(", ")}`, about);
  if (targetMs !== undefined && afterMs > targetMs) log.warn(`${what} took ${seconds(afterMs - targetMs)} longer than its target.`, about);
}

/** Half as long again as usual, and noticeably. */
function isSlow(ms: number, usualMs: number): boolean {
  return ms > usualMs * 1.5 && ms > usualMs + 500;
}

const target = (ms: number | undefined): string => (ms === undefined ? "" : ` (target: ${exactDuration(ms)})`);
const seconds = (ms: number): string => `${(ms / 1000).toFixed(3)}s`;
