import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { postResult } from "../../src/jobs/sources/runpod-post.ts";
import { RunpodTaker } from "../../src/jobs/sources/runpod-take.ts";
import { fillTemplate, withQuery } from "../../src/jobs/sources/runpod-url.ts";
import { joinIds } from "../../src/jobs/sources/runpod-ping.ts";
import { type Fault, startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { createScriptedEngine, doneWith } from "./scripted-engine.ts";
import { limit, runpodConfig, startRig } from "./worker-rig.ts";

const never = new AbortController().signal;

test("Every token of a template is replaced, and a query is begun or continued", () => {
  const identity = { podId: "pod/1", gpuTypeId: "NVIDIA RTX A5000" };
  const template = "http://x/job-done/$RUNPOD_POD_ID/$ID?gpu=$RUNPOD_GPU_TYPE_ID&again=$ID";
  assert.equal(fillTemplate(template, identity, "j?1"), "http://x/job-done/pod%2F1/j%3F1?gpu=NVIDIA%20RTX%20A5000&again=j%3F1");
  assert.equal(withQuery("http://x/take", { job_in_progress: "1" }), "http://x/take?job_in_progress=1");
  assert.equal(withQuery("http://x/take?a=b", { job_in_progress: "1" }), "http://x/take?a=b&job_in_progress=1");
  const ids = Array.from({ length: 5000 }, (_, index) => `job-number-${index}-u1`);
  const joined = joinIds(ids);
  // Pings carry ids too, and must not end at one that JSON allows and a URL does not.
  assert.equal(withQuery("http://x/ping", { job_id: joinIds(["half-\ud83d"]) }), "http://x/ping?job_id=half-%EF%BF%BD");
  assert.ok(joined.length <= 65_536 && joined.split(",").every((id, index) => id === ids[index]));
});

test("Each kind of answer to a take has its own pause, and failures wait longer and longer", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform({ holdMs: 0 });
  const url = `${platform.env()["RUNPOD_WEBHOOK_GET_JOB"]?.replace("$ID", "pod")}&job_in_progress=0`;
  const take = async (taker: RunpodTaker, fault?: Fault) => {
    if (fault) platform.fail("job-take", fault);
    return await taker.take(url, { signal: never });
  };
  const fresh = () => new RunpodTaker({ apiKey: "local-platform-key", pollMs: 95_000 });
  assert.deepEqual(await take(fresh()), { type: "none", pauseMs: 0 });
  assert.deepEqual(await take(fresh(), { status: 429 }), { type: "none", pauseMs: 5000 });
  assert.deepEqual(await take(fresh(), { status: 429, retryAfter: "7" }), { type: "none", pauseMs: 7000 });
  const paused = await take(fresh(), { status: 400 });
  assert.ok(paused.type === "none" && paused.pauseMs >= 250);
  for (const fault of [{ status: 500 }, { status: 401 }, { html: true }, { emptyBody: true }] satisfies Fault[]) {
    const failed = await take(fresh(), fault);
    assert.ok(failed.type === "failed" && failed.pauseMs >= 250, JSON.stringify([fault, failed]));
  }
  const tired = fresh();
  for (let tries = 0; tries < 10; tries++) await take(tired, { status: 502 });
  const late = await take(tired, { status: 502 });
  assert.ok(late.type === "failed" && late.pauseMs >= 7500 && late.pauseMs <= 15_000);
  const quick = fresh();
  for (let tries = 0; tries < 8; tries++) await take(quick);
  const spun = await take(quick);
  assert.ok(spun.type === "none" && spun.pauseMs >= 500, "a platform that holds no poll is not asked in a loop");
});

test("A take that is answered with half a job is asked again, and the job is not lost to the next", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  platform.fail("job-take", { badJson: true });
  await using rig = await startRig(createScriptedEngine(), { sources: { runpod: runpodConfig(platform.env()) } });
  await rig.untilLine(/is not a job/);
  platform.submit({ id: "job", input: {} });
  await platform.waitForResult("job", limit());
});

test("An id that no header and no URL can hold as it stands is answered", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  await using rig = await startRig(createScriptedEngine(), { sources: { runpod: runpodConfig(platform.env()) } });
  await platform.waitForHeldTake(limit());
  for (const id of ["iş-😀", "half-\ud83d"]) {
    platform.submit({ id, input: {} });
    await platform.waitFor("the answer", () => platform.calls("job-done").find(({ jobId }) => jobId === id.toWellFormed()), limit());
  }
  await rig.shutDown();
});

test("A job that is no job is failed with a string that says why", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  await using rig = await startRig(createScriptedEngine(), { sources: { runpod: runpodConfig(platform.env()) } });
  await platform.waitForHeldTake(limit());
  platform.submit({ id: "text", input: "just text" as unknown as Record<string, unknown> });
  const post = await platform.waitForResult("text", limit());
  assert.match(JSON.parse(post.text ?? "").error, /^job\.invalid: Cannot run the job: input: expected an object, not "just text"\./);
  assert.deepEqual([platform.violations, rig.events.some(({ type }) => type === "job.started")], [[], false]);
});

test("A result is posted until the platform has it, each time the same bytes", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  platform.fail("job-done", { status: 500 });
  platform.fail("job-done", { drop: "mid" });
  platform.fail("job-done", { status: 429, retryAfter: "0" });
  platform.fail("job-done", { drop: "after" });
  await using rig = await startRig(createScriptedEngine(), { sources: { runpod: runpodConfig(platform.env()) } });
  platform.submit({ id: "job", input: {} });
  await platform.waitFor("an answered post", () => platform.results("job").find(({ request }) => request.status === 200), limit());
  await rig.shutDown();
  assert.equal(platform.calls("job-done").length, 5);
  assert.deepEqual([platform.summary().differing, platform.violations], [[], []]);
});

test("A result that is refused for its size is replaced, once, by an error that names the size", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform({ keepBodyBytes: 1000 });
  const engine = createScriptedEngine();
  engine.script = (attempt) => doneWith(attempt, JSON.stringify({ images: ["A".repeat(2_000_000)] }));
  for (const status of [413, 400]) platform.fail("job-done", { status });
  await using rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) } });
  platform.submit({ id: "large", input: {} });
  const post = await platform.waitForResult("large", limit());
  assert.match(JSON.parse(post.text ?? "").error, /^result\.not-delivered: Cannot deliver the result: it has 20000\d\d bytes and RunPod answered 413/);
  await rig.shutDown();
  assert.equal(engine.attempts.length, 1);
});

test("Posting gives up when the worker must end", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  platform.fail("job-done", { status: 503 }, { times: 1000 });
  const dir = mkdtempSync(join(tmpdir(), "fettle-post-"));
  const bodyPath = join(dir, "body.json");
  writeFileSync(bodyPath, "{}");
  const exit = new AbortController();
  const result = { jobId: "j", status: "COMPLETED" as const, bodyPath, sizeBytes: 2, delayMs: 0, executionMs: 0 };
  const delivery = await postResult(`${platform.url}/job-done/pod/j?isStream=false`, result, {
    apiKey: "local-platform-key",
    answerMs: 30_000,
    signal: exit.signal,
    onRetry: () => exit.abort(),
  });
  assert.equal(delivery.type, "undelivered");
  rmSync(dir, { recursive: true, force: true });
});

test("With faults at random on take and post, every job ends in one result", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine("engine", 8);
  const faults: Fault[] = [{ status: 500 }, { status: 502 }, { drop: "before" }, { drop: "mid" }, { drop: "after" }];
  for (const [seed, fault] of faults.entries()) {
    platform.fail("job-done", fault, { probability: 0.05, seed: seed + 1 });
    platform.fail("job-take", fault, { probability: 0.01, seed: seed + 11 });
  }
  await using rig = await startRig(engine, { sources: { runpod: { ...runpodConfig(platform.env()), concurrency: 8 } } });
  platform.submit(...Array.from({ length: 150 }, (_, index) => ({ id: `job-${index}`, input: {} })));
  const summary = await platform.waitForAll(limit(60_000));
  await rig.shutDown();
  assert.deepEqual([summary.differing, platform.violations], [[], []]);
  assert.equal(engine.attempts.length, 150);
});
