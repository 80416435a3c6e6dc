import assert from "node:assert/strict";
import { test } from "node:test";
import { startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { createScriptedEngine, doneWith, untilInterrupted } from "./scripted-engine.ts";
import { limit, runpodConfig, startRig } from "./worker-rig.ts";

test("A job is taken, run and answered with the engine's own words", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform({ gpuTypeId: "NVIDIA RTX A5000", keepBodyBytes: Infinity });
  const engine = createScriptedEngine();
  await using rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) } });
  platform.submit({ id: "job-1", input: { prompt: "ä \u0000 cat", unknown: { __proto__: 1 } } });
  const post = await platform.waitForResult("job-1", limit());
  assert.deepEqual(JSON.parse(post.text ?? ""), { output: { images: ["aGk="], echo: { prompt: "ä \u0000 cat", unknown: {} } } });
  assert.equal(post.request.query.get("isStream"), "false");
  await platform.waitForHeldTake(limit());
  assert.equal(await rig.shutDown(), 0);
  assert.deepEqual(platform.violations, []);
  assert.deepEqual(
    rig.events.map(({ type }) => type).filter((type) => type.startsWith("job.")),
    ["job.received", "job.started", "job.done", "job.sent"],
  );
});

test("Five hundred jobs are each answered once", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine("engine", 4);
  await using rig = await startRig(engine, { sources: { runpod: { ...runpodConfig(platform.env()), concurrency: 4 } } });
  platform.submit(...Array.from({ length: 500 }, (_, index) => ({ id: `job-${index}`, input: { prompt: `${index}` } })));
  const summary = await platform.waitForAll(limit(60_000));
  await rig.shutDown();
  assert.equal(engine.attempts.length, 500);
  assert.deepEqual([summary.posts, summary.repeats, summary.acceptedTwice, summary.differing], [500, 0, [], []]);
  assert.deepEqual(platform.violations, []);
});

test("SIGTERM in the middle: every job that was handed out has its answer, the rest was never taken", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine();
  const rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) } });
  platform.submit(...Array.from({ length: 200 }, (_, index) => ({ id: `job-${index}`, input: {} })));
  await engine.facts.until("50 attempts", () => (engine.attempts.length >= 50 ? true : undefined), limit());
  assert.equal(await rig.shutDown(), 0);
  assert.equal(platform.outstanding().length, 0);
  const answered = platform.jobs().filter((job) => job.results.some((post) => post.accepted));
  assert.deepEqual(
    answered.map(({ id }) => id),
    platform
      .jobs()
      .filter((job) => job.handouts.length > 0)
      .map(({ id }) => id),
  );
  assert.ok(answered.length >= 50 && answered.length < 200);
});

test("A job that does not end in time is interrupted and its failure is posted", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine();
  engine.script = (_attempt, { signal }) => untilInterrupted(signal);
  const rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) }, stopBudgetMs: 600 });
  platform.submit({ id: "long", input: {} });
  await engine.facts.until("it runs", () => engine.attempts[0], limit());
  assert.equal(await rig.shutDown(), 0);
  assert.match(JSON.parse(platform.results("long")[0]?.text ?? "").error, /^job\.shutting-down: /);
});

test("Pings begin at once, name the jobs held and go on while a job runs", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform({ pingIntervalMs: 200 });
  const engine = createScriptedEngine();
  engine.script = (_attempt, { signal }) => untilInterrupted(signal);
  const rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) }, stopBudgetMs: 600 });
  await platform.waitForPing((query) => query.get("job_id") === null && query.get("runpod_version") !== null, { ...limit(), past: true });
  platform.submit({ id: "held", input: {} });
  await platform.waitForPing((query) => query.get("job_id") === "held", limit());
  await platform.waitForPing((query) => query.get("job_id") === "held", limit());
  await rig.shutDown();
  assert.deepEqual(platform.violations, []);
});

test("An id that is handed out again runs once while it is held, and is answered again with the same bytes afterwards", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine("engine", 2);
  const gate = Promise.withResolvers<void>();
  engine.script = async (attempt) => {
    await gate.promise;
    return doneWith(attempt, `{"images":["${engine.attempts.length}"]}`);
  };
  await using rig = await startRig(engine, { sources: { runpod: { ...runpodConfig(platform.env()), concurrency: 2 } } });
  platform.submit({ id: "twice", input: {} });
  await engine.facts.until("it runs", () => engine.attempts[0], limit());
  platform.submit({ id: "twice", input: {} });
  await rig.untilLine(/handed out again/);
  gate.resolve();
  await platform.waitForResult("twice", limit());
  platform.submit({ id: "twice", input: {} });
  await platform.waitFor("a second post", () => platform.results("twice")[1], limit());
  await rig.shutDown();
  assert.equal(engine.attempts.length, 1);
  assert.deepEqual(platform.summary().differing, []);
});

test("A failed job that is handed out again gets another run", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine();
  engine.script = (attempt) =>
    engine.attempts.length > 1 ? doneWith(attempt, "{}") : { type: "failed", code: "engine.failed", message: "Cannot run the job: once.", retryable: false };
  await using rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) } });
  platform.submit({ id: "again", input: {} });
  assert.match((await platform.waitForResult("again", limit())).text ?? "", /engine\.failed/);
  platform.submit({ id: "again", input: {} });
  const second = await platform.waitFor("a second post", () => platform.results("again")[1], limit());
  assert.equal(second.text, '{"output":{}}');
  await rig.shutDown();
  assert.equal(engine.attempts.length, 2);
});
