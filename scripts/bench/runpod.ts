/**
 * fettle beside the official `runpod` Python SDK, on the same local platform and the same no-op engine, in interleaved rounds.
 * Takes the two programs and how much to run, gives samples; no judgement and no drawing here (see runpod-report.ts).
 */
import { type NoopEngine, startNoopEngine } from "../../test/doubles/noop-engine.ts";
import { type RunpodPlatform, startRunpodPlatform } from "../../test/doubles/runpod-platform.ts";
import { seededDice } from "../../test/doubles/runpod-faults.ts";
import { pssByProcess, strangersSharing, treeCpuSeconds, treePssMib, watchPss } from "./memory.ts";
import { type Programs, type SideName, startWorker, type Worker } from "./sides.ts";
import { median } from "./stats.ts";

export type RunpodPlan = { rounds: number; jobs: number; idleJobs: number; waves: number; holdMs: number };

export type Samples = {
  startToTakeMs: number[];
  backlogMs: number[];
  idleMs: number[];
  nextTakeMs: number[];
  throughputPerS: number[];
  cpuMsPerJob: number[];
  idlePssMib: number[];
  heldPssMib: number[];
  peakPssMib: number[];
  largeMs: number[];
  sigtermMs: number[];
};
export type RunpodSamples = Record<SideName, Samples> & { notes: string[]; pss: Record<SideName, { command: string; pssMib: number }[]> };

/** Short, so that the SDK, which leaves no open poll, ends soon where its end is not measured. */
const ordinaryHoldMs = 3000;
const largeBytes = 15_000_000;
const sides: readonly SideName[] = ["fettle", "sdk"];

export async function benchRunpod(programs: Programs, plan: RunpodPlan, say: (line: string) => void): Promise<RunpodSamples> {
  await using engine = await startNoopEngine();
  const result: RunpodSamples = { fettle: noSamples(), sdk: noSamples(), notes: [], pss: { fettle: [], sdk: [] } };
  const share = (total: number, round: number) => Math.floor((total * (round + 1)) / plan.rounds) - Math.floor((total * round) / plan.rounds);
  for (let round = 0; round < plan.rounds; round += 1) {
    for (const side of sides) {
      say(`round ${round + 1}/${plan.rounds}, ${side}: latency`);
      const shape = { concurrency: 1, sigtermHoldMs: round === 0 ? plan.holdMs : undefined };
      await withWorker(side, programs, engine, shape, result, async (platform, worker) => {
        await measureLatency(platform, worker, result[side], share(plan.jobs, round), share(plan.idleJobs, round), round);
        const strangers = strangersSharing(worker.pid);
        if (strangers > 0) result.notes.push(`${side}: other processes ran the same program meanwhile, so its PSS reads lower than it is`);
        if (round > 0) return;
        result.pss[side] = pssByProcess(worker.pid).map(({ command, pssMib }) => ({ command: command.slice(0, 80), pssMib }));
      });
    }
    for (const side of sides) {
      say(`round ${round + 1}/${plan.rounds}, ${side}: four 15 MB results`);
      await withWorker(side, programs, engine, { concurrency: 4 }, result, (platform, worker) =>
        measureLarge(platform, worker, result[side], share(plan.waves, round), round),
      );
    }
  }
  return result;
}

function noSamples(): Samples {
  return {
    startToTakeMs: [],
    backlogMs: [],
    idleMs: [],
    nextTakeMs: [],
    throughputPerS: [],
    cpuMsPerJob: [],
    idlePssMib: [],
    heldPssMib: [],
    peakPssMib: [],
    largeMs: [],
    sigtermMs: [],
  };
}

/** One platform and one worker: start, measure, stop; with `sigtermHoldMs`, SIGTERM comes right after a poll began that is held that long. */
async function withWorker(
  side: SideName,
  programs: Programs,
  engine: NoopEngine,
  shape: { concurrency: number; sigtermHoldMs?: number | undefined },
  result: RunpodSamples,
  measure: (platform: RunpodPlatform, worker: Worker) => Promise<void>,
): Promise<void> {
  await using platform = await startRunpodPlatform({ holdMs: ordinaryHoldMs });
  const worker = await startWorker(side, programs, platform, engine.url, shape.concurrency);
  try {
    await measure(platform, worker);
    if (shape.sigtermHoldMs !== undefined) {
      platform.setHold(shape.sigtermHoldMs);
      await nextTake(platform);
    }
    const { tookMs, ending } = await worker.terminate(60_000);
    if (shape.sigtermHoldMs !== undefined) result[side].sigtermMs.push(tookMs);
    if (ending !== "exit 0") result.notes.push(`${side} ended with ${ending} on SIGTERM`);
  } catch (error) {
    await worker.terminate(0);
    throw new Error(`The ${side} worker failed the bench; its log: ${worker.logPath}`, { cause: error });
  }
  const { acceptedTwice, differing, outstanding } = platform.summary();
  if (acceptedTwice.length + differing.length + outstanding > 0) {
    result.notes.push(`${side}: ${outstanding} unanswered, ${acceptedTwice.length} answered twice, ${differing.length} with two answers`);
  }
  for (const violation of new Set(platform.violations)) result.notes.push(`${side}: ${violation}`);
}

async function measureLatency(platform: RunpodPlatform, worker: Worker, samples: Samples, jobs: number, idleJobs: number, round: number) {
  const first = await platform.waitForHeldTake(limit(60_000));
  samples.startToTakeMs.push(first.arrivedAtMs - worker.startedAtMs);
  platform.submit({ id: `warm-${round}`, input: { prompt: "warm" } });
  await platform.waitForAll(limit(60_000));
  await platform.waitForHeldTake(limit(60_000));
  await pause(2000);
  samples.idlePssMib.push(treePssMib(worker.pid));

  const dice = seededDice(round + 1);
  for (let index = 0; index < idleJobs; index += 1) {
    await platform.waitForHeldTake(limit(60_000));
    await pause(20 + dice() * 200);
    const id = `idle-${round}-${index}`;
    platform.submit({ id, input: { prompt: id } });
    samples.idleMs.push(await handedToPosted(platform, id));
  }

  await platform.waitForHeldTake(limit(60_000));
  const ids = Array.from({ length: jobs }, (_, index) => `backlog-${round}-${index}`);
  const cpuBefore = treeCpuSeconds(worker.pid);
  platform.submit(...ids.map((id) => ({ id, input: { prompt: id } })));
  await platform.waitForAll(limit(60_000 + jobs * 5000));
  samples.cpuMsPerJob.push(((treeCpuSeconds(worker.pid) - cpuBefore) * 1000) / jobs);
  const handed = ids.map((id) => platform.job(id)?.handouts[0]?.atMs ?? Number.NaN);
  const posted = ids.map((id) => platform.results(id)[0]?.postedAtMs ?? Number.NaN);
  samples.backlogMs.push(...posted.map((at, index) => at - (handed[index] ?? Number.NaN)));
  samples.throughputPerS.push((jobs / ((posted.at(-1) ?? 0) - (handed[0] ?? 0))) * 1000);
  await platform.waitForHeldTake(limit(60_000));
  const takes = platform.calls("job-take").map((take) => take.arrivedAtMs);
  // The take that follows a hand-out is the worker's next one; below 0 when it came while the result was still on its way.
  samples.nextTakeMs.push(...posted.map((at, index) => (takes.find((take) => take > (handed[index] ?? 0)) ?? Number.NaN) - at));
}

/** Four results of 15 MB, all posted and none yet answered: each worker still owns all four. */
async function measureLarge(platform: RunpodPlatform, worker: Worker, samples: Samples, waves: number, round: number) {
  const first = await platform.waitForHeldTake(limit(60_000));
  samples.startToTakeMs.push(first.arrivedAtMs - worker.startedAtMs);
  for (let wave = 0; wave < waves; wave += 1) {
    const ids = [0, 1, 2, 3].map((index) => `large-${round}-${wave}-${index}`);
    const gate = platform.holdAnswers("job-done");
    const watch = watchPss(worker.pid);
    platform.submit(...ids.map((id) => ({ id, input: { prompt: id, override_settings: { noop: { sizeBytes: largeBytes } } } })));
    await gate.untilHeld(4, limit(120_000));
    samples.heldPssMib.push(treePssMib(worker.pid));
    gate.release();
    await platform.waitForAll(limit(60_000));
    samples.largeMs.push(median(await Promise.all(ids.map((id) => handedToPosted(platform, id)))));
    samples.peakPssMib.push((await watch.stop()).peakMib);
    await platform.waitForHeldTake(limit(60_000));
  }
}

async function handedToPosted(platform: RunpodPlatform, id: string): Promise<number> {
  const post = await platform.waitForResult(id, limit(60_000));
  return post.postedAtMs - (platform.job(id)?.handouts.at(-1)?.atMs ?? Number.NaN);
}

/** A take that begins from now on, so that it is held for the whole of the present hold. */
async function nextTake(platform: RunpodPlatform): Promise<void> {
  const from = platform.requests.length;
  const look = () => platform.requests.find((request) => request.seq >= from && request.endpoint.startsWith("job-take"));
  await platform.waitFor("the next take", look, limit(120_000));
  await platform.waitForHeldTake(limit(60_000));
}

function limit(ms: number): { signal: AbortSignal } {
  return { signal: AbortSignal.timeout(ms) };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
