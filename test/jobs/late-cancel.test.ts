/** What becomes of a job that is cancelled, or cut short, when its engine is done with it and its result is on the way to a bucket. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { OutputStep } from "../../src/jobs/run-job.ts";
import { createFacts } from "../doubles/facts.ts";
import { startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { ask, post } from "../server/http-rig.ts";
import { createScriptedEngine, doneWith } from "./scripted-engine.ts";
import { httpConfig, limit, runpodConfig, startRig } from "./worker-rig.ts";

/** An upload that goes on until it is told not to. */
function createUpload() {
  const facts = createFacts(() => `${started} uploads`);
  let started = 0;
  const step: OutputStep = async (_output, { signal }) => {
    started += 1;
    facts.changed();
    await new Promise((resolve) => (signal.aborted ? resolve(undefined) : signal.addEventListener("abort", resolve, { once: true })));
    return { type: "failed", failure: { code: "result.cannot-upload", message: "Cannot upload an image: it was called off." } };
  };
  return { step, until: (count: number) => facts.until(`${count} uploads`, () => (started >= count ? true : undefined), limit()) };
}

test("a job that is cancelled while its result is uploaded ends as cancelled, at once", { timeout: 30_000 }, async () => {
  const upload = createUpload();
  await using platform = await startRunpodPlatform();
  await using rig = await startRig(createScriptedEngine(), { sources: { http: httpConfig(), runpod: runpodConfig(platform.env()) }, steps: [upload.step] });
  const url = await rig.untilListening();
  await ask(`${url}/run`, { id: "a", input: {} });
  await upload.until(1);
  assert.equal((await ask(`${url}/status/a`)).json["status"], "IN_PROGRESS");
  assert.equal((await post(`${url}/cancel/a`)).json["status"], "CANCELLED");
  assert.deepEqual((await ask(`${url}/runsync`, { id: "a", input: {} })).json["errorCode"], "job.cancelled");
  platform.submit({ id: "b", input: {} });
  await upload.until(2);
  platform.stopJob("b");
  assert.match((await platform.waitForResult("b")).text ?? "", /job\.cancelled/);
});

test("an engine that goes on to the end of a cancelled job does not undo the cancel", { timeout: 30_000 }, async () => {
  const engine = createScriptedEngine();
  const held = Promise.withResolvers<void>();
  engine.script = async (attempt) => {
    await held.promise;
    return doneWith(attempt, "{}");
  };
  await using rig = await startRig(engine, { sources: { http: httpConfig() } });
  const url = await rig.untilListening();
  await ask(`${url}/run`, { id: "a", input: {} });
  await engine.facts.until("it runs", () => (engine.running > 0 ? true : undefined), limit());
  assert.equal((await post(`${url}/cancel/a`)).json["status"], "CANCELLED");
  held.resolve();
  assert.equal((await ask(`${url}/runsync`, { id: "a", input: {} })).json["errorCode"], "job.cancelled");
});

test("an upload that the worker's end cuts off is not blamed on the bucket, where the job cannot be given back", { timeout: 30_000 }, async () => {
  const upload = createUpload();
  await using platform = await startRunpodPlatform();
  await using rig = await startRig(createScriptedEngine(), { sources: { runpod: runpodConfig(platform.env()) }, steps: [upload.step], stopBudgetMs: 1000 });
  platform.submit({ id: "a", input: {} });
  await upload.until(1);
  await rig.shutDown();
  assert.match((await platform.waitForResult("a")).text ?? "", /job\.shutting-down/);
});

test("an upload that the worker's end cuts off is made again by the next worker, where the source can wait", { timeout: 30_000 }, async () => {
  const stateDir = mkdtempSync(join(tmpdir(), "fettle-upload-"));
  try {
    const upload = createUpload();
    const options = { sources: { http: httpConfig() }, stateDir };
    const first = await startRig(createScriptedEngine(), { ...options, steps: [upload.step], stopBudgetMs: 200 });
    await ask(`${await first.untilListening()}/run`, { id: "a", input: {} });
    await upload.until(1);
    await first.shutDown();
    await using second = await startRig(createScriptedEngine(), options);
    const { json } = await ask(`${await second.untilListening()}/runsync`, { id: "a", input: {} });
    assert.deepEqual([json["status"], json["errorCode"]], ["COMPLETED", undefined]);
  } finally {
    rmSync(stateDir, { recursive: true, force: true });
  }
});
