import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createScriptedEngine, doneWith, untilInterrupted } from "../jobs/scripted-engine.ts";
import { httpConfig, limit, startRig } from "../jobs/worker-rig.ts";
import { ask, type Json } from "./http-rig.ts";

test("runsync gives RunPod's shape, bare and under /v2", { timeout: 60_000 }, async () => {
  await using rig = await startRig(createScriptedEngine(), { sources: { http: httpConfig() } });
  const url = await rig.untilListening();
  for (const prefix of ["", "/v2/some-endpoint"]) {
    const { status, json } = await ask(`${url}${prefix}/runsync`, { input: { prompt: "cat", unknown_key: [1, null] } });
    assert.equal(status, 200);
    assert.deepEqual(Object.keys(json).sort(), ["delayTime", "executionTime", "id", "output", "status"]);
    assert.deepEqual([json["status"], json["output"]], ["COMPLETED", { images: ["aGk="], echo: { prompt: "cat", unknown_key: [1, null] } }]);
    assert.deepEqual((await ask(`${url}${prefix}/status/${json["id"]}`)).json, json);
  }
  const { json } = await ask(`${url}/health`);
  assert.deepEqual(json, {
    jobs: { completed: 2, failed: 0, inProgress: 0, inQueue: 0, retried: 0 },
    workers: { idle: 1, initializing: 0, ready: 1, running: 0, throttled: 0, unhealthy: 0 },
  });
});

test("run queues, status follows, cancel reaches a waiting and a running job", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  const let1 = Promise.withResolvers<void>();
  const letGo = Promise.withResolvers<void>();
  engine.script = async (attempt, { signal }) => {
    if (attempt.jobId !== "one") {
      const ended = await untilInterrupted(signal);
      await letGo.promise;
      return ended;
    }
    await let1.promise;
    return doneWith(attempt, '{"images":[]}');
  };
  await using rig = await startRig(engine, { sources: { http: httpConfig() }, stopBudgetMs: 500 });
  const url = await rig.untilListening();
  assert.deepEqual((await ask(`${url}/run`, { id: "one", input: {} })).json, { id: "one", status: "IN_QUEUE" });
  await engine.facts.until("one runs", () => engine.attempts[0], limit());
  assert.deepEqual((await ask(`${url}/status/one`)).json, { id: "one", status: "IN_PROGRESS" });
  await ask(`${url}/run`, { id: "two", input: {} });
  await ask(`${url}/run`, { id: "three", input: {} });
  assert.equal((await ask(`${url}/cancel/two`, {})).json["status"], "CANCELLED");
  let1.resolve();
  const done = await ask(`${url}/runsync?wait=10000`, { id: "one", input: {} });
  assert.deepEqual([done.json["status"], done.json["output"]], ["COMPLETED", { images: [] }]);
  await engine.facts.until("three runs", () => engine.attempts.find(({ jobId }) => jobId === "three"), limit());
  assert.equal((await ask(`${url}/cancel/three`, {})).json["status"], "CANCELLED");
  // The engine still works on it; its caller was told that it is over, and is not told otherwise now.
  assert.deepEqual((await ask(`${url}/status/three`)).json, { id: "three", status: "CANCELLED" });
  letGo.resolve();
  const three = await ask(`${url}/runsync`, { id: "three", input: {} });
  assert.deepEqual([three.json["status"], three.json["errorCode"]], ["CANCELLED", "job.cancelled"]);
  assert.match(String(three.json["error"]), /^job\.cancelled: /);
  assert.deepEqual(
    engine.attempts.map(({ jobId }) => jobId),
    ["one", "three"],
  );
});

test("runsync answers with the state of a job that takes longer than asked", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  engine.script = (_attempt, { signal }) => untilInterrupted(signal);
  await using rig = await startRig(engine, { sources: { http: httpConfig() }, stopBudgetMs: 500 });
  const url = await rig.untilListening();
  const { json } = await ask(`${url}/runsync?wait=1000`, { id: "slow", input: {} });
  assert.deepEqual(json, { id: "slow", status: "IN_PROGRESS" });
});

test("A failed job has a string as its error and the code beside it", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  engine.script = () => ({ type: "failed", code: "engine.rejected", message: "Cannot run the job: steps must be a number.", retryable: false });
  await using rig = await startRig(engine, { sources: { http: httpConfig() } });
  const { status, json } = await ask(`${await rig.untilListening()}/runsync`, { input: {} });
  assert.deepEqual([status, json["status"], json["errorCode"]], [200, "FAILED", "engine.rejected"]);
  assert.match(String(json["error"]), /^engine\.rejected: Cannot run the job: steps must be a number\. /);
});

test("Requests that are no jobs get a sentence, a code and a hint", { timeout: 60_000 }, async () => {
  await using rig = await startRig(createScriptedEngine(), { sources: { http: { ...httpConfig(), maxBody: 10_000 } } });
  const url = await rig.untilListening();
  const cases: [unknown, number, string, string?][] = [
    ["{", 400, "job.invalid"],
    ["", 400, "job.invalid"],
    ["[]", 422, "job.invalid"],
    ["{}", 422, "job.invalid", "input"],
    [{ input: [] }, 422, "job.invalid", "input"],
    [{ input: null }, 422, "job.invalid", "input"],
    [{ input: {}, id: 7 }, 422, "job.invalid", "id"],
    [{ input: {}, id: "a\nb" }, 422, "job.invalid", "id"],
    [`{"input":${"[".repeat(4000)}${"]".repeat(4000)}}`, 422, "job.invalid", "input"],
    [{ input: { prompt: "x".repeat(20_000) } }, 413, "job.too-large"],
  ];
  for (const [body, status, code, path] of cases) {
    const answer = await ask(`${url}/run`, body);
    const shown = JSON.stringify(body).slice(0, 60);
    assert.deepEqual([answer.status, answer.json["code"], answer.json["path"]], [status, code, path], shown);
    assert.ok(typeof answer.json["error"] === "string" && typeof answer.json["hint"] === "string", shown);
  }
  assert.equal((await ask(`${url}/run`, undefined, { method: "POST", body: new Uint8Array([0x7b, 0xff, 0x7d]) })).status, 400);
  assert.equal((await ask(`${url}/runsync?wait=5`, { input: {} })).json["path"], "wait");
  assert.deepEqual(
    [(await ask(`${url}/status/none`)).status, (await ask(`${url}/cancel/none`, {})).status, (await ask(`${url}/nowhere`)).status],
    [404, 404, 404],
  );
});

test("Hostile bodies are answered and the worker stays", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  await using rig = await startRig(engine, { sources: { http: httpConfig() } });
  const url = await rig.untilListening();
  const deep = `{"input":${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}}`;
  assert.equal((await ask(`${url}/runsync`, deep)).status, 422);
  engine.script = (attempt) => doneWith(attempt, JSON.stringify({ images: [], length: String(attempt.input["prompt"]).length }));
  const large = await ask(`${url}/runsync`, { input: { prompt: "x".repeat(50_000_000) } });
  assert.deepEqual([large.status, large.json["output"]], [200, { images: [], length: 50_000_000 }]);
  const proto = await ask(`${url}/runsync`, '{"input":{"__proto__":{"polluted":1},"constructor":{"prototype":{}}},"__proto__":{"id":"x"}}');
  assert.equal(proto.status, 200);
  assert.equal(({} as Json)["polluted"], undefined);
  const odd = await ask(`${url}/runsync`, '{"input":{"prompt":"\\u0000","number":1e999}}');
  assert.equal(odd.status, 200, JSON.stringify(odd.json));
  assert.equal((await ask(`${url}/health`)).status, 200);
});

test("Without the key nothing is answered", { timeout: 60_000 }, async () => {
  await using rig = await startRig(createScriptedEngine(), { sources: { http: { ...httpConfig(), apiKey: "a-long-secret" } } });
  const url = await rig.untilListening();
  const refused = await ask(`${url}/health`);
  assert.deepEqual([refused.status, refused.json["code"]], [401, "job.unauthorized"]);
  assert.equal((await ask(`${url}/run`, { input: {} }, { headers: { Authorization: "a-long-secret" } })).status, 401);
  assert.equal((await ask(`${url}/v2/x/run`, { input: {} }, { headers: { Authorization: "Bearer a-long-secret" } })).status, 200);
});

test("A full queue and a stopping worker say 503", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  const gate = Promise.withResolvers<void>();
  engine.script = async (attempt) => {
    await gate.promise;
    return doneWith(attempt, "{}");
  };
  await using rig = await startRig(engine, { sources: { http: { ...httpConfig(), maxQueue: 1 } } });
  const url = await rig.untilListening();
  const first = ask(`${url}/runsync`, { input: {} });
  await engine.facts.until("it runs", () => engine.attempts[0], limit());
  await ask(`${url}/run`, { input: {} });
  const full = await ask(`${url}/run`, { input: {} });
  assert.deepEqual([full.status, full.json["code"], full.headers.get("retry-after")], [503, "job.queue-full", "5"]);
  const ended = rig.shutDown();
  const late = await ask(`${url}/run`, { input: {} });
  assert.deepEqual([late.status, late.json["code"]], [503, "job.shutting-down"]);
  gate.resolve();
  assert.equal((await first).json["status"], "COMPLETED");
  assert.equal(await ended, 0);
});

test("A large result comes through whole", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  const image = "QUJD".repeat(3_750_000);
  engine.script = (attempt) => doneWith(attempt, JSON.stringify({ images: [image] }));
  await using rig = await startRig(engine, { sources: { http: httpConfig() } });
  const { json } = await ask(`${await rig.untilListening()}/runsync`, { input: {} });
  assert.equal((json["output"] as { images: string[] }).images[0], image);
});

test("A result is kept for as long as configured, then its job is unknown", { timeout: 60_000 }, async () => {
  await using rig = await startRig(createScriptedEngine(), { sources: { http: httpConfig() }, jobs: { keepResults: 300 } });
  const url = await rig.untilListening();
  const { json } = await ask(`${url}/runsync`, { input: {} });
  assert.equal((await ask(`${url}/status/${json["id"]}`)).json["status"], "COMPLETED");
  for (;;) {
    const { status } = await ask(`${url}/status/${json["id"]}`);
    if (status === 404) break;
  }
  assert.deepEqual(readdirSync(join(rig.stateDir, "results")), []);
});
