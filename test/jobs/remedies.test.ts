import assert from "node:assert/strict";
import { test } from "node:test";
import type { AttemptResult } from "../../src/engines/engine.ts";
import type { JobRecord } from "../../src/jobs/record.ts";
import { createScriptedEngine, doneWith, untilInterrupted } from "./scripted-engine.ts";
import { httpConfig, startRig } from "./worker-rig.ts";

type Reply = {
  status: string;
  error?: string;
  errorCode?: string;
  retries?: number;
  output?: Record<string, unknown>;
  meta?: JobRecord & { executionMs: number; delayMs: number };
};

const failed = (code: "engine.out-of-memory" | "engine.cuda-error" | "engine.failed", remedy?: "free-memory" | "restart"): AttemptResult => ({
  type: "failed",
  code,
  message: `Cannot run the job: ${code}.`,
  retryable: remedy !== undefined,
  ...(remedy && { remedy }),
});

const post = async (url: string, path: string, body: unknown = {}): Promise<Reply> =>
  (await (await fetch(`${url}${path}`, { method: "POST", body: JSON.stringify(body) })).json()) as Reply;
const ready = { type: "service.ready", service: "scripted", afterMs: 1 } as const;
const sources = { http: httpConfig() };

test("Out of memory: the engine frees memory, then the job runs once more and no further time", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  let freed = 0;
  engine.freeMemory = async () => void (freed += 1);
  engine.script = (attempt) => (attempt.jobId === "fits" && freed > 0 ? doneWith(attempt, "{}") : failed("engine.out-of-memory", "free-memory"));
  await using rig = await startRig(engine, { sources });
  const url = await rig.untilListening();
  assert.deepEqual([(await post(url, "/runsync", { id: "fits", input: {} })).status, freed, engine.attempts.length], ["COMPLETED", 1, 2]);
  const second = await post(url, "/runsync", { id: "never", input: {} });
  assert.deepEqual([second.errorCode, freed, engine.attempts.length], ["engine.out-of-memory", 2, 4]);
});

test("A sticky CUDA error has the engine's service restarted; the job runs again when the supervisor calls it ready", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  engine.script = (attempt) => (engine.attempts.length > 1 ? doneWith(attempt, '{"images":[]}') : failed("engine.cuda-error", "restart"));
  await using rig = await startRig(engine, { sources, engineIsService: true });
  const url = await rig.untilListening();
  rig.tell(ready);
  const answer = post(url, "/runsync", { id: "job", input: {} });
  assert.equal(await rig.untilRestart(), "scripted");
  assert.equal(engine.attempts.length, 1);
  rig.tell({ type: "service.spawned", service: "scripted", pid: 1, restarts: 1 });
  rig.tell(ready);
  const job = await answer;
  assert.deepEqual([job.status, job.retries, rig.restarts.length], ["COMPLETED", 1, 1]);
  const record = await rig.recordOf("http", "job");
  assert.deepEqual(
    record.attempts.map(({ number, engine: name, cause, remedy }) => [number, name, cause, remedy]),
    [
      [1, "scripted", "engine.cuda-error", "restart"],
      [2, "scripted", undefined, undefined],
    ],
  );
});

test("A job that poisons its engine each time fails after maxLosses restarts", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  engine.script = () => failed("engine.cuda-error", "restart");
  await using rig = await startRig(engine, { sources, engineIsService: true, jobs: { maxLosses: 2 } });
  const url = await rig.untilListening();
  rig.tell(ready);
  const answer = post(url, "/runsync", { id: "poison", input: {} });
  await rig.untilRestart(1);
  rig.tell(ready);
  assert.equal((await answer).errorCode, "engine.cuda-error");
  await rig.untilRestart(2);
  assert.equal(engine.attempts.length, 2);
});

test("A job past its own deadline is interrupted and fails with what was tried", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  engine.script = (_attempt, { signal }) => untilInterrupted(signal);
  await using rig = await startRig(engine, { sources, jobs: { deadline: 50 } });
  const job = await post(await rig.untilListening(), "/runsync", { id: "slow", input: {} });
  assert.equal(job.errorCode, "engine.timeout");
  assert.match(job.error ?? "", /deadline of 50 ms \(attempt 1 on scripted: engine\.timeout\)/);
});

test("Silence is a stall: interrupted, restarted, run again; repeated progress is silence too", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  engine.tellsProgress = true;
  engine.script = async (attempt, { signal, onProgress }) => {
    if (engine.attempts.length > 1) return doneWith(attempt, "{}");
    const tick = setInterval(() => onProgress?.({ fraction: 0.5, step: 1, steps: 2 }), 5);
    const end = await untilInterrupted(signal);
    clearInterval(tick);
    return end;
  };
  await using rig = await startRig(engine, { sources, engineIsService: true, jobs: { stall: 60, loading: 60_000 } });
  const url = await rig.untilListening();
  rig.tell(ready);
  const answer = post(url, "/runsync", { id: "stalls", input: {} });
  await rig.untilRestart();
  rig.tell(ready);
  assert.equal((await answer).status, "COMPLETED");
  const [first] = (await rig.recordOf("http", "stalls")).attempts;
  assert.deepEqual([first?.cause, first?.remedy], ["engine.stalled", "restart"]);
});

test("An engine that keeps a cancelled job is restarted, and the job is cancelled", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  engine.script = async (attempt, { signal }) => {
    if (engine.attempts.length > 1) return doneWith(attempt, "{}");
    await untilInterrupted(signal);
    return { type: "cancelled", remedy: "restart" };
  };
  await using rig = await startRig(engine, { sources, engineIsService: true });
  const url = await rig.untilListening();
  rig.tell(ready);
  await post(url, "/run", { id: "keeps", input: {} });
  await engine.facts.until("it runs", () => engine.attempts[0]);
  await post(url, "/cancel/keeps");
  await rig.untilRestart();
  const next = post(url, "/runsync", { id: "next", input: {} });
  rig.tell(ready);
  assert.equal((await next).status, "COMPLETED");
  assert.equal((await post(url, "/status/keeps")).status, "CANCELLED");
  assert.equal(engine.attempts.length, 2);
});

test("Several jobs of one engine's life ask for one restart", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine("scripted", 2);
  const both = Promise.withResolvers<void>();
  engine.script = async (attempt) => {
    if (engine.attempts.length > 2) return doneWith(attempt, "{}");
    if (engine.attempts.length === 2) both.resolve();
    await both.promise;
    return failed("engine.cuda-error", "restart");
  };
  await using rig = await startRig(engine, { sources: { http: { ...httpConfig(), concurrency: 2 } }, engineIsService: true });
  const url = await rig.untilListening();
  rig.tell(ready);
  const answers = [post(url, "/runsync", { id: "a", input: {} }), post(url, "/runsync", { id: "b", input: {} })];
  await rig.untilRestart();
  await rig.untilLine(/job b \| attempt 1 broke off/);
  await rig.untilLine(/job a \| attempt 1 broke off/);
  rig.tell(ready);
  assert.deepEqual(await Promise.all(answers.map(async (answer) => (await answer).status)), ["COMPLETED", "COMPLETED"]);
  assert.equal(rig.restarts.length, 1);
});
