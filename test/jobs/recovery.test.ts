import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Journal } from "../../src/jobs/journal.ts";
import { prepareJournalPlace } from "../../src/jobs/journal-place.ts";
import { startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { createScriptedEngine, doneWith } from "./scripted-engine.ts";
import { httpConfig, limit, runpodConfig, startRig } from "./worker-rig.ts";

/** A state folder as a dead worker leaves it. */
async function leaveBehind(write: (journal: Journal) => void): Promise<string> {
  const stateDir = mkdtempSync(join(tmpdir(), "fettle-recovery-"));
  const journal = await Journal.open(prepareJournalPlace(stateDir), { ...limit(), onWarning: () => {} });
  write(journal);
  journal.close();
  return stateDir;
}

async function view(url: string, id: string): Promise<Record<string, unknown>> {
  return (await (await fetch(`${url}/runsync`, { method: "POST", body: JSON.stringify({ id, input: {} }) })).json()) as Record<string, unknown>;
}

test("Jobs accepted over HTTP are finished in the next life, in their order", { timeout: 60_000 }, async () => {
  const stateDir = await leaveBehind((journal) => {
    for (const id of ["a", "b", "c"]) journal.accept({ source: "http", id, receivedAt: Date.now() }, `{"input":{"prompt":"${id}"}}`);
    journal.start(1, "scripted");
  });
  const engine = createScriptedEngine();
  await using rig = await startRig(engine, { sources: { http: httpConfig() }, stateDir });
  const url = await rig.untilListening();
  const last = await view(url, "c");
  assert.deepEqual(last["output"], { images: ["aGk="], echo: { prompt: "c" } });
  assert.deepEqual(
    engine.attempts.map(({ jobId }) => jobId),
    ["a", "b", "c"],
  );
  assert.equal(engine.settled, 1);
  assert.equal((await view(url, "a"))["retries"], 1);
  rmSync(stateDir, { recursive: true, force: true });
});

test("A RunPod job that was running runs again; one that was only undelivered is posted byte for byte, not run", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  platform.submit({ id: "ran", input: {} }, { id: "done", input: {} });
  const body = '{"output":{"images":["kept"]}}';
  const stateDir = await leaveBehind((journal) => {
    journal.accept({ source: "runpod", id: "ran", receivedAt: Date.now() }, '{"input":{"prompt":"again"}}', { engine: "scripted" });
    const { row } = journal.accept({ source: "runpod", id: "done", receivedAt: Date.now() }, '{"input":{}}', { engine: "scripted" });
    writeFileSync(journal.bodyPath(row.key), body);
    journal.finish(row.key, { jobId: "done", status: "COMPLETED", bodyPath: "", sizeBytes: body.length, delayMs: 0, executionMs: 0 }, { at: Date.now() });
  });
  const engine = createScriptedEngine();
  await using rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) }, stateDir });
  assert.equal((await platform.waitForResult("done", limit())).text, body);
  await platform.waitForResult("ran", limit());
  await rig.shutDown();
  assert.deepEqual(engine.attempts.map(({ jobId }) => jobId).toSorted(), ["ran"]);
  rmSync(stateDir, { recursive: true, force: true });
});

test("A job that brought the worker down each time is failed, not run for ever", { timeout: 60_000 }, async () => {
  const stateDir = await leaveBehind((journal) => {
    journal.accept({ source: "http", id: "killer", receivedAt: Date.now() }, '{"input":{}}', { engine: "scripted" });
    journal.recover();
    journal.recover();
  });
  const engine = createScriptedEngine();
  await using rig = await startRig(engine, { sources: { http: httpConfig() }, stateDir });
  const killer = await view(await rig.untilListening(), "killer");
  assert.deepEqual([killer["status"], killer["errorCode"], engine.attempts.length], ["FAILED", "job.lost-too-often", 0]);
  rmSync(stateDir, { recursive: true, force: true });
});

test("A finished job whose body was lost with the disk is failed, never half delivered", { timeout: 60_000 }, async () => {
  const stateDir = await leaveBehind((journal) => {
    const { row } = journal.accept({ source: "http", id: "torn", receivedAt: Date.now() }, '{"input":{}}', { engine: "scripted" });
    journal.finish(row.key, { jobId: "torn", status: "COMPLETED", bodyPath: "", sizeBytes: 100, delayMs: 0, executionMs: 0 }, { at: Date.now() });
  });
  await using rig = await startRig(createScriptedEngine(), { sources: { http: httpConfig() }, stateDir });
  const torn = await view(await rig.untilListening(), "torn");
  assert.deepEqual([torn["status"], torn["errorCode"]], ["FAILED", "result.cannot-store"]);
  rmSync(stateDir, { recursive: true, force: true });
});

test("An engine that is lost in mid-job gets no further job until it answers; the job then runs again", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  engine.script = (attempt) => {
    if (engine.attempts.length > 1) return doneWith(attempt, '{"images":[]}');
    engine.isUp = false;
    return { type: "failed", code: "engine.lost", message: "Cannot run the job: the connection broke.", retryable: true };
  };
  await using rig = await startRig(engine, { sources: { http: httpConfig() } });
  const answer = view(await rig.untilListening(), "job");
  await rig.untilLine(/attempt 1 broke off/);
  await rig.untilLine(/is not ready after 15 tries/);
  assert.equal(engine.attempts.length, 1);
  engine.isUp = true;
  const job = await answer;
  assert.deepEqual([job["status"], job["retries"]], ["COMPLETED", 1]);
});

test("A job that loses its engine every time fails after maxLosses tries", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  engine.script = () => ({ type: "failed", code: "engine.lost", message: "Cannot run the job: the connection broke.", retryable: true });
  await using rig = await startRig(engine, { sources: { http: httpConfig() } });
  const job = await view(await rig.untilListening(), "job");
  assert.deepEqual([job["status"], job["errorCode"], engine.attempts.length], ["FAILED", "engine.lost", 3]);
});

test("An engine with a service is used while its supervisor calls it ready", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine("webui");
  await using rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) }, engineIsService: true });
  await platform.waitForPing(() => true, { ...limit(), past: true });
  assert.equal(platform.calls("job-take").length, 0);
  rig.tell({ type: "service.ready", service: "webui", afterMs: 1 });
  const take = await platform.waitForHeldTake(limit());
  rig.tell({ type: "service.unready", service: "webui", reason: "test" });
  await platform.waitFor("the take is given up", () => (take.status === 499 ? true : undefined), limit());
  platform.submit({ id: "job", input: {} });
  rig.tell({ type: "service.ready", service: "webui", afterMs: 1 });
  await platform.waitForResult("job", limit());
  assert.deepEqual(platform.violations, []);
});
