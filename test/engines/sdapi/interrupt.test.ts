import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import type { Progress } from "../../../src/engines/engine.ts";
import { startNoopEngine } from "../../doubles/noop-engine.ts";
import { sendJson, startTinyServer } from "../../doubles/tiny-server.ts";
import { makeAttempt, sdapiAnswer } from "../../fixtures/sdapi-answer.ts";
import { busy, connect, idle, say } from "./connection.ts";

const never = new AbortController().signal;
const interrupt = "/sdapi/v1/interrupt";

test("a cancel interrupts the engine and resolves when it let go; its half-done 200 is no result", async () => {
  await using engine = await startNoopEngine();
  await using attempt = await makeAttempt({ noop: { hold: true } });
  const cancel = new AbortController();
  const running = connect(engine.url).run(attempt, { signal: cancel.signal });
  await engine.waitFor({ running: 1 });
  cancel.abort();
  assert.equal(say(await running), "cancelled");
  const stats = await engine.stats();
  assert.deepEqual([stats.running, stats.finished], [0, 1]);
  assert.ok(stats.interrupts >= 1);
});

test("an interrupt waits until the job runs, and is repeated until the engine ends it", async () => {
  let held: ServerResponse | undefined;
  let looks = 0;
  let interrupts = 0;
  await using server = await startTinyServer(({ path }, response) => {
    if (path.includes("/progress")) return sendJson(response, 200, ++looks < 3 ? idle : { ...busy, state: { job_count: -1 } });
    if (path !== interrupt) return void (held = response);
    sendJson(response, 200, {});
    if (++interrupts === 2 && held) sendJson(held, 200, sdapiAnswer());
  });
  await using attempt = await makeAttempt();
  const cancel = new AbortController();
  const running = connect(server.url).run(attempt, { signal: cancel.signal });
  await server.asked("/sdapi/v1/txt2img");
  cancel.abort();
  assert.equal(say(await running), "cancelled");
  assert.equal(interrupts, 2);
  assert.ok(looks >= 4);
});

test("the bundled engine is told which task to interrupt", async () => {
  let held: ServerResponse | undefined;
  await using server = await startTinyServer(({ path }, response) => {
    if (!path.startsWith(interrupt)) return void (held = response);
    sendJson(response, 200, { interrupted: true });
    if (held) sendJson(held, 200, sdapiAnswer());
  });
  await using attempt = await makeAttempt();
  const cancel = new AbortController();
  const running = connect(server.url, { kind: "diffusers" }).run(attempt, { signal: cancel.signal });
  await server.asked("/sdapi/v1/txt2img");
  cancel.abort();
  assert.equal(say(await running), "cancelled");
  assert.equal(server.seen.at(-1)?.path, `${interrupt}?force_task_id=attempt-1`);
});

test("a job that takes too long is interrupted and fails as timed out", async () => {
  await using engine = await startNoopEngine();
  await using attempt = await makeAttempt({ noop: { hold: true } });
  const result = await connect(engine.url, { options: { timeoutMs: 300 } }).run(attempt, { signal: never });
  assert.match(say(result), /^engine\.timeout Cannot run the job: the engine took longer than 300 ms\.$/);
  assert.equal((await engine.stats()).running, 0);
});

test("an engine that ignores the interrupt is left after a while, and that is said", async () => {
  await using server = await startTinyServer(({ path }, response) => {
    if (path.includes("/progress")) sendJson(response, 200, busy);
    else if (path === interrupt) sendJson(response, 200, {});
  });
  await using attempt = await makeAttempt();
  const result = await connect(server.url, { options: { timeoutMs: 50, letGoMs: 200 } }).run(attempt, { signal: never });
  assert.match(say(result), /^engine\.timeout .*did not react to the interrupt/);
  assert.ok(server.count(interrupt) >= 1);
});

test("a cancel during the pause between tries sends nothing more", async () => {
  await using server = await startTinyServer((_request, response) => sendJson(response, 503, {}));
  await using attempt = await makeAttempt();
  const cancel = new AbortController();
  const running = connect(server.url, { options: { retry: { tries: 10, backoffMs: 600_000 } } }).run(attempt, { signal: cancel.signal });
  await server.asked("/sdapi/v1/txt2img");
  cancel.abort();
  assert.equal(say(await running), "cancelled");
  assert.equal(server.count("/sdapi/v1/txt2img"), 1);
});

test("closing the connection ends what runs on it", async () => {
  await using engine = await startNoopEngine();
  await using attempt = await makeAttempt({ noop: { hold: true } });
  const connection = connect(engine.url);
  const running = connection.run(attempt, { signal: never });
  await engine.waitFor({ running: 1 });
  await connection.close();
  assert.equal(say(await running), "cancelled");
});

test("progress tells steps while somebody listens", async () => {
  let held: ServerResponse | undefined;
  await using server = await startTinyServer(({ path }, response) => {
    if (path.includes("/progress")) sendJson(response, 200, busy);
    else held = response;
  });
  await using attempt = await makeAttempt();
  const engine = connect(server.url, { pace: { progressMs: 1 } });
  const seen: Progress[] = [];
  const running = engine.run(attempt, { signal: never, onProgress: (progress) => void seen.push(progress) });
  await server.asked("/sdapi/v1/progress", 3);
  if (held) sendJson(held, 200, sdapiAnswer());
  assert.equal(say(await running), "done");
  assert.deepEqual(seen, [{ fraction: 0.5, step: 2, steps: 4, etaMs: 1500 }]);
  assert.equal(server.seen.find(({ path }) => path.includes("/progress"))?.path, "/sdapi/v1/progress?skip_current_image=true");
});

test("nobody listens, nobody asks for progress", async () => {
  await using server = await startTinyServer((_request, response) => sendJson(response, 200, sdapiAnswer()));
  await using attempt = await makeAttempt();
  assert.equal(say(await connect(server.url, { pace: { progressMs: 1 } }).run(attempt, { signal: never })), "done");
  assert.equal(server.count("/sdapi/v1/progress"), 0);
});

test("settle ends the work of a former life and waits until the engine is idle", async () => {
  await using engine = await startNoopEngine();
  const orphan = fetch(`${engine.url}/sdapi/v1/txt2img`, { method: "POST", body: JSON.stringify({ noop: { hold: true } }) });
  await engine.waitFor({ running: 1 });
  await connect(engine.url).settle({ signal: never });
  assert.equal((await engine.stats()).running, 0);
  assert.equal((await orphan).status, 200);
  const before = (await engine.stats()).interrupts;
  await connect(engine.url).settle({ signal: never });
  assert.equal((await engine.stats()).interrupts, before);
});

test("settle is not fooled by the idle moment between two queued jobs, and ends with its signal", async () => {
  const states = [idle, busy, idle, idle];
  await using server = await startTinyServer(({ path }, response) => sendJson(response, 200, path.includes("/progress") ? (states.shift() ?? idle) : {}));
  await connect(server.url).settle({ signal: never });
  assert.equal(server.count("/sdapi/v1/progress"), 4);
  assert.equal(server.count(interrupt), 1);
  await server.stop();
  await assert.rejects(connect(server.url).settle({ signal: AbortSignal.timeout(50) }));
});
