import assert from "node:assert/strict";
import { test } from "node:test";
import type { RunOptions } from "../../src/engines/engine.ts";
import { partsOf } from "../../src/jobs/sources/runpod-stream.ts";
import { startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { createScriptedEngine, doneWith } from "./scripted-engine.ts";
import { limit, runpodConfig, startRig } from "./worker-rig.ts";

test("Progress is posted while a job runs, one post at a time, the latest only, and never after the result", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine();
  const gate = Promise.withResolvers<void>();
  let report: RunOptions["onProgress"];
  engine.script = async (attempt, { onProgress }) => {
    report = onProgress;
    await gate.promise;
    return doneWith(attempt, "{}");
  };
  const answers = platform.holdAnswers("job-done");
  await using rig = await startRig(engine, { sources: { runpod: { ...runpodConfig(platform.env()), progressInterval: 1 } } });
  platform.submit({ id: "job", input: {} });
  await engine.facts.until("it runs", () => engine.attempts[0], limit());
  report?.({ fraction: 0.25, step: 5, steps: 20, etaMs: 1000.4 });
  await answers.untilHeld(1, limit());
  // All these come while the first is on its way.
  for (let step = 6; step < 20; step++) report?.({ fraction: step / 20, step, steps: 20 });
  answers.release();
  await platform.waitFor("a second progress", () => platform.job("job")?.progress[1], limit());
  const late = platform.holdAnswers("job-done");
  report?.({ fraction: 0.99 });
  await late.untilHeld(1, limit());
  gate.resolve();
  await rig.untilLine(/done in/);
  assert.equal(platform.results("job").length, 0, "the result waits for the open post");
  late.release();
  await platform.waitForResult("job", limit());
  report?.({ fraction: 1 });
  await rig.shutDown();
  const posts = (platform.job("job")?.progress ?? []).map(({ text, isStream }) => [JSON.parse(text ?? ""), isStream]);
  assert.deepEqual(posts, [
    [{ status: "IN_PROGRESS", output: { progress: 0.25, step: 5, steps: 20, etaMs: 1000 } }, "false"],
    [{ status: "IN_PROGRESS", output: { progress: 0.95, step: 19, steps: 20 } }, "false"],
    [{ status: "IN_PROGRESS", output: { progress: 0.99 } }, "false"],
  ]);
  assert.deepEqual(platform.violations, []);
});

test("What the user's own code reports goes out as it is; progress that is off posts nothing; its failure harms no job", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  platform.fail("job-done", { status: 500 });
  const engine = createScriptedEngine();
  engine.script = async (attempt, { onProgress }) => {
    onProgress?.({ fraction: 0, note: { pct: 50 } });
    await platform.waitFor("a note", () => platform.job(attempt.jobId)?.progress[0], limit());
    return doneWith(attempt, "{}");
  };
  await using rig = await startRig(engine, { sources: { runpod: { ...runpodConfig(platform.env()), progressInterval: 3_600_000 } } });
  platform.submit({ id: "job", input: {} });
  await platform.waitForResult("job", limit());
  await rig.shutDown();
  assert.equal(platform.job("job")?.progress[0]?.text, '{"status":"IN_PROGRESS","output":{"pct":50}}');
  await platform.waitFor("the former worker's poll has gone", () => platform.calls("job-take").at(-1)?.status || undefined, limit());
  const silent = createScriptedEngine();
  silent.script = (_attempt, { onProgress }) => void onProgress?.({ fraction: 0, note: "unheard" });
  await using off = await startRig(silent, { sources: { runpod: { ...runpodConfig(platform.env()), progressInterval: 0 } } });
  platform.submit({ id: "silent", input: {} });
  await platform.waitForResult("silent", limit());
  await off.shutDown();
  assert.deepEqual(platform.job("silent")?.progress, []);
});

test("Pieces of an output are posted one by one, again when they fail, and before the result, which says isStream", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  platform.fail("job-stream", { status: 503 });
  platform.fail("job-stream", { status: 429, retryAfter: "0" });
  const engine = createScriptedEngine();
  engine.script = async (attempt, { onPartial }) => {
    for (let index = 0; index < 3; index++) await onPartial?.({ i: index });
    return doneWith(attempt, "[]");
  };
  await using rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) } });
  platform.submit({ id: "job", input: {} });
  const post = await platform.waitForResult("job", limit());
  await rig.shutDown();
  const chunks = platform.job("job")?.chunks ?? [];
  assert.deepEqual(
    chunks.filter(({ accepted }) => accepted).map(({ text, isStream }) => [text, isStream]),
    [0, 1, 2].map((index) => [`{"output":{"i":${index}}}`, "false"]),
  );
  assert.deepEqual([chunks.length, post.text, post.isStream], [5, '{"output":[]}', "true"]);
  assert.deepEqual(platform.violations, []);
});

test("A piece that the platform refuses is lost with a warning, not the job", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  platform.fail("job-stream", { status: 413 });
  const engine = createScriptedEngine();
  engine.script = async (attempt, { onPartial }) => {
    await onPartial?.("too large");
    return doneWith(attempt, "[]");
  };
  await using rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) } });
  platform.submit({ id: "job", input: {} });
  await platform.waitForResult("job", limit());
  await rig.untilLine(/piece of the output never reached RunPod: it answered 413/);
});

test("Text over 1 MB is cut where no character is torn, and joins to the same text", () => {
  const text = "aşk😀\u0000".repeat(100_000);
  const parts = partsOf(text) as string[];
  assert.equal(parts.join(""), text);
  assert.ok(parts.length > 1 && parts.every((part) => part.isWellFormed() && Buffer.byteLength(JSON.stringify({ output: part })) <= 1_000_000));
  const large = { list: text };
  assert.deepEqual([partsOf("short"), partsOf(large), partsOf(null)], [["short"], [large], [null]]);
});
