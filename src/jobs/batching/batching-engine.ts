// jobs/batching/ owns the gathering of jobs that can share one call of an engine. Takes: an `Engine` that can run several at once
// (`runBatch`). Gives: the same engine with more slots, so that the pool hands it several. Must not know how the engine does it.
import type { Attempt, AttemptResult, Engine, Progress, RunOptions } from "../../engines/engine.ts";
import { Gathering } from "./gathering.ts";

export interface BatchingLimits {
  /** Jobs of one call. */
  readonly maxSize: number;
  /** The first of them waits for others at most so long, ms; a full batch goes at once. */
  readonly maxWaitMs: number;
}

interface Member {
  readonly attempt: Attempt;
  readonly options: RunOptions;
  readonly resolve: (result: AttemptResult) => void;
}

/**
 * An engine that gathers compatible attempts. Each gets its own result; a call that the engine refuses as a whole is repeated one by
 * one. A cancelled member leaves at once, but the others' call goes on: the engine is interrupted when nobody wants it any more.
 * An engine without `runBatch` is given back as it is.
 */
export function withBatching(engine: Engine, limits: BatchingLimits): Engine {
  const { runBatch, batchKey } = engine;
  if (!runBatch || !batchKey || limits.maxSize < 2) return engine;
  const gathering = new Gathering<Member>({ ...limits, lanes: engine.slots, run: (members) => runTogether(engine, runBatch, members) });
  return {
    ...engine,
    slots: engine.slots * limits.maxSize,
    run: (attempt, options) =>
      new Promise((resolve) => {
        const member = { attempt, options, resolve };
        if (options.signal.aborted) return resolve({ type: "cancelled" });
        const leave = gathering.add(member, batchKey(attempt));
        // While it waits; once it runs, its call looks after that.
        options.signal.addEventListener("abort", () => leave() && resolve({ type: "cancelled" }), { once: true });
      }),
  };
}

async function runTogether(engine: Engine, runBatch: NonNullable<Engine["runBatch"]>, members: readonly Member[]): Promise<void> {
  const [first] = members;
  if (members.length === 1 && first) return first.resolve(await settled(engine.run(first.attempt, first.options)));
  const everybodyGone = new AbortController();
  const wanted = new Set(members);
  for (const member of members) {
    const leave = () => {
      wanted.delete(member);
      // Its place in the call stays taken; the last one to leave waits for the engine to let go.
      if (wanted.size > 0) member.resolve({ type: "cancelled" });
      else everybodyGone.abort();
    };
    if (member.options.signal.aborted) leave();
    else member.options.signal.addEventListener("abort", leave, { once: true });
  }
  if (wanted.size === 0) return members.forEach(({ resolve }) => resolve({ type: "cancelled" }));
  const tell = (say: (options: RunOptions) => void) => {
    for (const { options } of wanted) say(options);
  };
  // The engine's preview shows the first picture alone, so nobody gets it.
  const onProgress = ({ preview: _preview, ...progress }: Progress) => tell((options) => options.onProgress?.(progress));
  const end = await runBatch(
    members.map(({ attempt }) => attempt),
    { signal: everybodyGone.signal, onProgress, onActivity: () => tell((options) => options.onActivity?.()) },
  ).catch((): "one-by-one" => "one-by-one");
  if (end !== "one-by-one") return members.forEach(({ resolve }, index) => resolve(end[index] ?? { type: "cancelled" }));
  for (const { attempt, options, resolve } of members) {
    const result = options.signal.aborted ? { type: "cancelled" as const } : await settled(engine.run(attempt, options));
    resolve(result);
  }
}

/** An engine's bug is its caller's matter, but must not keep the others of a batch waiting. */
function settled(run: Promise<AttemptResult>): Promise<AttemptResult> {
  return run.catch((error: unknown) => ({ type: "failed", code: "engine.failed", message: `Cannot run the job: ${String(error)}.`, retryable: false }));
}
