/** One platform and one worker: start, measure, stop, and look whether every job had exactly one answer. */
import { type RunpodPlatform, startRunpodPlatform } from "../../../test/doubles/runpod-platform.ts";
import type { Samples } from "./samples.ts";
import { type Launch, startWorker, type Worker } from "./sides.ts";

/** Short, so that a poll that is not measured is soon over. */
const ordinaryHoldMs = 3000;

export interface Session {
  readonly platform: RunpodPlatform;
  readonly worker: Worker;
  /** From the process's start to its first request for a job. */
  readonly startToTakeMs: number;
}

/** `measure` gets a worker that waits for its first job. A worker whose end is not the measure's matter is ended here. */
export async function withSession<T>(launch: Launch, samples: Samples, measure: (session: Session) => Promise<T>): Promise<T> {
  await using platform = await startRunpodPlatform({ holdMs: ordinaryHoldMs });
  const worker = startWorker(launch, platform.env());
  let value: T;
  try {
    const first = await platform.waitForHeldTake(limit(120_000));
    value = await measure({ platform, worker, startToTakeMs: first.arrivedAtMs - worker.startedAtMs });
    // The SDK would sit out its poll; how long that takes is a row of its own.
    const { ending } = await worker.terminate(launch.name === "sdk" ? 0 : 30_000);
    if (launch.name !== "sdk" && ending !== "exit 0") samples.notes.add(`${launch.name} ended with ${ending} on SIGTERM`);
  } catch (error) {
    await worker.terminate(0);
    throw new Error(`The ${launch.name} worker failed the bench; its log: ${worker.logPath}`, { cause: error });
  }
  const { acceptedTwice, differing, outstanding } = platform.summary();
  if (acceptedTwice.length + differing.length + outstanding > 0) {
    samples.notes.add(`${launch.name}: ${outstanding} unanswered, ${acceptedTwice.length} answered twice, ${differing.length} with two answers`);
  }
  for (const violation of new Set(platform.violations)) samples.notes.add(`${launch.name}: ${violation}`);
  return value;
}

/** Milliseconds from the hand-out of a job to the last byte of its posted result; a failed job ends the bench. */
export async function handedToPosted(platform: RunpodPlatform, id: string): Promise<number> {
  const post = await platform.waitForResult(id, limit(120_000));
  if (post.text !== undefined && /^\s*\{"error"/.test(post.text)) throw new Error(`Job ${id} failed: ${post.text.slice(0, 300)}`);
  return post.postedAtMs - handedAt(platform, id);
}

export function handedAt(platform: RunpodPlatform, id: string): number {
  return platform.job(id)?.handouts.at(-1)?.atMs ?? Number.NaN;
}

/** Runs one small job, so that nothing that is done once only is in the figures, and waits for the next poll. */
export async function warmUp(platform: RunpodPlatform, input: Record<string, unknown> = {}): Promise<void> {
  platform.submit({ id: "warm", input: { prompt: "warm", ...input } });
  await handedToPosted(platform, "warm");
  await platform.waitForHeldTake(limit(60_000));
}

export function limit(ms: number): { signal: AbortSignal } {
  return { signal: AbortSignal.timeout(ms) };
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
