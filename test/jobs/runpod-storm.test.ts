// Every fault at every endpoint, in turn and at random, against a whole worker and a real engine process.
// FETTLE_TEST_JOBS sets the size of the storm (scripts/stress uses 2,000); FETTLE_TEST_SEED its dice.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Engine } from "../../src/engines/engine.ts";
import { type NoopEngine, startNoopEngine } from "../doubles/noop-engine.ts";
import { type Endpoint, type Fault, type RunpodPlatform, startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { connect } from "../engines/sdapi/connection.ts";
import { limit, runpodConfig, startRig } from "./worker-rig.ts";

const jobs = Number(process.env["FETTLE_TEST_JOBS"] ?? 300);
const seed = Number(process.env["FETTLE_TEST_SEED"] ?? 1);
const endpoints: readonly Endpoint[] = ["job-take", "job-done", "job-stream", "ping", "job-stop"];
const faults: readonly Fault[] = [
  { status: 400 },
  { status: 401 },
  { status: 404 },
  { status: 429, retryAfter: "0" },
  { status: 500 },
  { status: 503 },
  { drop: "before" },
  { drop: "mid" },
  { drop: "after" },
  { hang: true },
  { html: true },
  { badJson: true },
  { emptyBody: true },
];

/** Sends a piece of output before each fifth job, as an engine that streams would. */
function streaming(engine: Engine): Engine {
  return {
    ...engine,
    isReady: (options) => engine.isReady(options),
    async run(attempt, options) {
      if (attempt.jobId.endsWith("5")) await options.onPartial?.({ piece: attempt.jobId });
      return await engine.run(attempt, options);
    },
    settle: (options) => engine.settle(options),
    close: () => engine.close(),
  };
}

function config(platform: RunpodPlatform, concurrency: number) {
  return { ...runpodConfig(platform.env()), concurrency, answerTimeout: 400, pollTimeout: 1500, progressInterval: 0 };
}

/** One terminal result each, none lost, none with two different ones; what an engine did twice is counted. */
async function verify(platform: RunpodPlatform, engine: NoopEngine, count: number): Promise<void> {
  const { submitted, outstanding, differing } = platform.summary();
  assert.deepEqual([submitted, outstanding, differing, platform.violations], [count, 0, [], []]);
  for (const job of platform.jobs()) {
    const accepted = new Set(job.results.filter((post) => post.accepted).map(({ sha256 }) => sha256));
    assert.equal(accepted.size, 1, job.id);
  }
  const { prompts } = await engine.stats();
  assert.equal(Object.values(prompts).filter(({ started }) => started !== 1).length, 0, "executions beyond the first");
  assert.equal(Object.keys(prompts).length, count);
}

test("Each fault at each endpoint, one after the other: every job is answered once", { timeout: 120_000 }, async () => {
  await using platform = await startRunpodPlatform({ pingIntervalMs: 100 });
  await using noop = await startNoopEngine();
  await using rig = await startRig(streaming(connect(noop.url, { kind: "diffusers" })), { sources: { runpod: config(platform, 1) } });
  for (const [index, fault] of faults.entries()) {
    const id = `job-${index}-5`;
    for (const endpoint of endpoints) platform.fail(endpoint, fault);
    platform.submit({ id, input: { prompt: id } });
    await platform.waitForResult(id, limit(30_000));
  }
  await platform.waitForAll(limit());
  await rig.shutDown();
  await verify(platform, noop, faults.length);
});

test(`${jobs} jobs in a storm of faults: each one result, the same bytes each time, no engine run twice, no busy loop`, { timeout: 600_000 }, async () => {
  await using platform = await startRunpodPlatform({ pingIntervalMs: 100 });
  await using noop = await startNoopEngine();
  for (const [index, fault] of faults.entries()) {
    // A hanging take costs a whole poll, so it is rarer.
    const share = "hang" in fault ? 0.003 : 0.01;
    for (const [place, endpoint] of endpoints.entries()) platform.fail(endpoint, fault, { probability: share, seed: seed * 1000 + place * 100 + index });
  }
  const engine = streaming(connect(noop.url, { kind: "diffusers", slots: 8 }));
  await using rig = await startRig(engine, { sources: { runpod: config(platform, 8) } });
  const startedAt = performance.now();
  platform.submit(
    ...Array.from({ length: jobs }, (_, index) => ({
      id: `job-${index}`,
      // Some fail in the engine, which is a result as well.
      input: { prompt: `job-${index}`, ...(index % 50 === 7 && { noop: { status: 422, error: '{"detail":"no"}' } }) },
    })),
  );
  await platform.waitForAll(limit(500_000));
  const seconds = (performance.now() - startedAt) / 1000;
  await rig.shutDown();
  await verify(platform, noop, jobs);
  const struck = platform.requests.filter(({ fault }) => fault !== undefined).length;
  assert.ok(struck > jobs / 20, `${struck} faults struck`);
  // A take and a post for each job, what was struck again, pings, pieces and polls: nothing asks without a pause.
  const most = jobs * 2.2 + struck * 2 + seconds * 30 + 100;
  assert.ok(platform.requests.length < most, `${platform.requests.length} requests in ${seconds.toFixed(1)} s, at most ${Math.round(most)}`);
});
