import assert from "node:assert/strict";
import { test } from "node:test";
import { createScriptedEngine, doneWith, untilInterrupted } from "../jobs/scripted-engine.ts";
import { httpConfig, limit, startRig } from "../jobs/worker-rig.ts";
import { ask, post } from "./http-rig.ts";

test("A streaming job's pieces are handed out once each, in their order, and the last ones after its end", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  const read = Promise.withResolvers<void>();
  engine.script = async (attempt, { onPartial, onProgress }) => {
    onProgress?.({ fraction: 0.5, step: 10, steps: 20, etaMs: 900 });
    await onPartial?.({ i: 0 });
    await onPartial?.("two\nlines");
    await read.promise;
    await onPartial?.(null);
    return doneWith(attempt, "[]");
  };
  await using rig = await startRig(engine, { sources: { http: httpConfig() } });
  const url = await rig.untilListening();
  await ask(`${url}/run`, { id: "s", input: {} });
  const got: unknown[] = [];
  while (got.length < 2) {
    const { json } = await ask(`${url}/stream/s`);
    got.push(...(json["stream"] as unknown[]));
    if (got.length === 2) assert.deepEqual([json["status"], json["progress"]], ["IN_PROGRESS", { fraction: 0.5, step: 10, steps: 20, etaMs: 900 }]);
  }
  assert.deepEqual(got, [{ output: { i: 0 } }, { output: "two\nlines" }]);
  assert.deepEqual((await ask(`${url}/status/s`)).json, { id: "s", status: "IN_PROGRESS", progress: { fraction: 0.5, step: 10, steps: 20, etaMs: 900 } });
  assert.deepEqual((await ask(`${url}/stream/s`)).json["stream"], []);
  read.resolve();
  assert.equal((await ask(`${url}/runsync`, { id: "s", input: {} })).json["status"], "COMPLETED");
  assert.deepEqual((await ask(`${url}/v2/any/stream/s`)).json, { status: "COMPLETED", stream: [{ output: null }] });
  assert.deepEqual((await post(`${url}/stream/s`)).json, { status: "COMPLETED", stream: [] });
  assert.equal((await ask(`${url}/stream/none`)).status, 404);
});

test("A handler's own progress shows as the running job's output, as RunPod shows it", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  engine.script = async (_attempt, { signal, onProgress }) => {
    onProgress?.({ fraction: 0.2, note: "loaded" });
    return await untilInterrupted(signal);
  };
  await using rig = await startRig(engine, { sources: { http: httpConfig() }, stopBudgetMs: 500 });
  const url = await rig.untilListening();
  await ask(`${url}/run`, { id: "n", input: {} });
  await engine.facts.until("it runs", () => engine.attempts[0], limit());
  assert.deepEqual((await ask(`${url}/status/n`)).json, { id: "n", status: "IN_PROGRESS", output: "loaded", progress: { fraction: 0.2 } });
});

test("An ended job runs again under its id with the body it was sent with; one that has not ended does not", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  const gate = Promise.withResolvers<void>();
  engine.script = async () => {
    if (engine.attempts.length === 1) return { type: "failed", code: "engine.failed", message: "Cannot run the job: a test.", retryable: false };
    await gate.promise;
    return undefined as never;
  };
  await using rig = await startRig(engine, { sources: { http: httpConfig() } });
  const url = await rig.untilListening();
  assert.equal((await ask(`${url}/runsync`, { id: "r", input: { prompt: "cat" } })).json["status"], "FAILED");
  assert.deepEqual((await post(`${url}/retry/r`)).json, { id: "r", status: "IN_QUEUE" });
  const early = await post(`${url}/retry/r`);
  assert.deepEqual([early.status, early.json["code"]], [409, "job.not-finished"]);
  gate.resolve();
  const done = await ask(`${url}/runsync`, { id: "r", input: { prompt: "cat" } });
  assert.deepEqual([done.json["status"], done.json["output"]], ["COMPLETED", { images: ["aGk="], echo: { prompt: "cat" } }]);
  assert.equal((await post(`${url}/retry/none`)).status, 404);
  assert.equal((await post(`${url}/v2/x/retry/r`)).status, 200);
  await engine.facts.until("the third run", () => engine.attempts[2], limit());
});

for (const concurrency of [1, 4])
  test(`A purge cancels what waits, for an engine too, and leaves what runs (concurrency ${concurrency})`, { timeout: 60_000 }, async () => {
    const engine = createScriptedEngine();
    const gate = Promise.withResolvers<void>();
    engine.script = async (attempt) => {
      await gate.promise;
      return doneWith(attempt, "{}");
    };
    await using rig = await startRig(engine, { sources: { http: { ...httpConfig(), concurrency } } });
    const url = await rig.untilListening();
    const running = ask(`${url}/runsync`, { id: "running", input: {} });
    await engine.facts.until("it runs", () => engine.attempts[0], limit());
    for (let at = 0; at < 50; at++) await ask(`${url}/run`, { id: `w${at}`, input: {} });
    const waiting = ask(`${url}/runsync`, { id: "w7", input: {} });
    assert.deepEqual((await post(`${url}/v2/x/purge-queue`)).json, { removed: 50, status: "completed" });
    assert.deepEqual([(await waiting).json["status"], (await waiting).json["errorCode"]], ["CANCELLED", "job.cancelled"]);
    for (let at = 0; at < 4; at++) assert.equal((await ask(`${url}/runsync`, { id: `w${at}`, input: {} })).json["status"], "CANCELLED");
    assert.deepEqual((await ask(`${url}/health`)).json["jobs"], { completed: 0, failed: 50, inProgress: 1, inQueue: 0, retried: 0 });
    gate.resolve();
    assert.equal((await running).json["status"], "COMPLETED");
    assert.deepEqual((await post(`${url}/purge-queue`)).json, { removed: 0, status: "completed" });
    assert.equal(engine.attempts.length, 1);
  });

test("One id is one body: the same job again, a clear no for another", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  await using rig = await startRig(engine, { sources: { http: httpConfig() } });
  const url = await rig.untilListening();
  const first = await ask(`${url}/runsync`, '{"id":"a","input":{"x":1,"y":[{"b":1,"a":2}]},"policy":{"ttl":5}}');
  const again = await ask(`${url}/runsync`, '{ "policy": {"ttl": 5}, "input": {"y": [{"a": 2, "b": 1}], "x": 1}, "id": "a" }');
  assert.deepEqual([again.status, again.json], [200, first.json]);
  for (const other of ['{"id":"a","input":{"x":1}}', '{"id":"a","input":{"x":"1","y":[{"b":1,"a":2}]},"policy":{"ttl":5}}', '{"id":"a","input":{}}']) {
    const refused = await ask(`${url}/run`, other);
    assert.deepEqual([refused.status, refused.json["code"], refused.json["path"]], [422, "job.id-reused", "id"]);
  }
  const headers = { "Idempotency-Key": '"key-1"' };
  const keyed = await ask(`${url}/run`, { input: { x: 2 } }, { headers });
  assert.equal(keyed.json["id"], "key-1");
  assert.equal((await ask(`${url}/runsync`, { input: { x: 2 } }, { headers: { "Idempotency-Key": "key-1" } })).json["status"], "COMPLETED");
  assert.equal((await ask(`${url}/run`, { input: { x: 3 } }, { headers })).json["code"], "job.id-reused");
  assert.equal((await ask(`${url}/run`, { id: "b", input: {} }, { headers })).json["path"], "Idempotency-Key");
  assert.equal((await ask(`${url}/run`, { input: {} }, { headers: { "Idempotency-Key": "x".repeat(600) } })).status, 422);
  assert.equal(engine.attempts.length, 2);
});

test("A known route asked with another method says which it takes", { timeout: 60_000 }, async () => {
  await using rig = await startRig(createScriptedEngine(), { sources: { http: httpConfig() } });
  const url = await rig.untilListening();
  const cases = [
    ["GET", "/run", "POST"],
    ["PUT", "/v2/x/runsync", "POST"],
    ["DELETE", "/status/a", "GET, HEAD, POST"],
    ["POST", "/health", "GET, HEAD"],
    ["GET", "/cancel/a", "POST"],
    ["OPTIONS", "/run", "POST"],
    ["POST", "/ping", "GET, HEAD"],
  ] as const;
  for (const [method, path, allow] of cases) {
    const { status, json, headers } = await ask(url + path, undefined, { method });
    assert.deepEqual([status, headers.get("allow"), json["code"]], [405, allow, "job.wrong-method"], `${method} ${path}`);
  }
});

test("A full queue tells when to come again, by how long jobs take", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  const gate = Promise.withResolvers<void>();
  engine.script = async (attempt) => {
    if (attempt.jobId === "slow") return { ...(doneWith(attempt, "{}") as { type: "done" }), engineMs: 42_000 } as never;
    await gate.promise;
    return doneWith(attempt, "{}");
  };
  await using rig = await startRig(engine, { sources: { http: { ...httpConfig(), maxQueue: 1 } } });
  const url = await rig.untilListening();
  await ask(`${url}/runsync`, { id: "slow", input: {} });
  await ask(`${url}/run`, { id: "runs", input: {} });
  await engine.facts.until("it runs", () => engine.attempts[1], limit());
  await ask(`${url}/run`, { id: "waits", input: {} });
  const full = await ask(`${url}/run`, { input: {} });
  assert.deepEqual([full.status, full.json["code"], full.headers.get("retry-after")], [503, "job.queue-full", "42"]);
  assert.equal((await ask(`${url}/run`, { id: "waits", input: {} })).status, 200, "a job that is there needs no room");
  gate.resolve();
});
