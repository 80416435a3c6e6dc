import assert from "node:assert/strict";
import { test } from "node:test";
import { headerOf, startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { createScriptedEngine, doneWith } from "./scripted-engine.ts";
import { limit, runpodConfig, startRig } from "./worker-rig.ts";

test("Requests look as the platform knows them from its own SDK", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform({ gpuTypeId: "NVIDIA RTX A5000", pingIntervalMs: 100 });
  const engine = createScriptedEngine();
  engine.script = (attempt) => doneWith(attempt, '{"text":"ş"}');
  await using rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) } });
  platform.submit({ id: "job-u1", input: {} });
  await platform.waitForResult("job-u1", limit());
  await platform.waitForHeldTake(limit());
  await rig.shutDown();
  const [take, next] = platform.calls("job-take");
  const [done] = platform.calls("job-done");
  const [stop] = platform.calls("job-stop");
  const [ping] = platform.calls("ping");
  const query = "?gpu=NVIDIA%20RTX%20A5000";
  assert.equal(take?.url, `/v2/localep/job-take/localpod01${query}&job_in_progress=0`);
  assert.ok(next?.url.startsWith(`/v2/localep/job-take/localpod01${query}&job_in_progress=`));
  assert.equal(done?.url, `/v2/localep/job-done/localpod01/job-u1${query}&isStream=false`);
  assert.equal(stop?.url, `/v2/localep/job-stop/localpod01${query}`);
  assert.equal(ping?.url, `/v2/localep/ping/localpod01${query}&runpod_version=1.12.0`);
  for (const request of [take, done, stop, ping]) assert.equal(request && headerOf(request, "authorization"), "local-platform-key");
  for (const request of [take, stop]) assert.equal(request && headerOf(request, "content-type"), "application/json");
  assert.deepEqual(
    ["content-type", "charset", "x-request-id", "content-length", "transfer-encoding"].map((name) => done && headerOf(done, name)),
    ["application/x-www-form-urlencoded", "utf-8", "job-u1", "24", undefined],
  );
  assert.equal(platform.results("job-u1")[0]?.text, '{"output":{"text":"ş"}}');
});

test("Each result carries its own job's id in the header, also when it is posted again", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  platform.fail("job-done", { status: 500 }, { probability: 0.5, seed: 3, times: 6 });
  const sources = { runpod: { ...runpodConfig(platform.env()), concurrency: 4 } };
  await using rig = await startRig(createScriptedEngine("engine", 4), { sources });
  platform.submit(...Array.from({ length: 12 }, (_, index) => ({ id: `job-${index}`, input: {} })));
  await platform.waitForAll(limit());
  await rig.shutDown();
  for (const post of platform.calls("job-done")) assert.equal(headerOf(post, "x-request-id"), post.jobId);
  assert.ok(platform.calls("job-done").length > 12);
});

test("job_in_progress is 1 while a job is held, and the next job is asked for while the result is on its way", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const answers = platform.holdAnswers("job-done");
  await using rig = await startRig(createScriptedEngine(), { sources: { runpod: runpodConfig(platform.env()) } });
  platform.submit({ id: "one", input: {} }, { id: "two", input: {} });
  await answers.untilHeld(2, limit());
  assert.deepEqual(
    platform.calls("job-take").map(({ query }) => query.get("job_in_progress")),
    ["0", "1", "1"],
  );
  answers.release();
  await platform.waitForAll(limit());
  await rig.shutDown();
  assert.deepEqual(platform.violations, []);
});

for (const missing of ["apiKey", "podId", "pingUrl"] as const) {
  test(`Without ${missing} nobody pings, as with the SDK; jobs are done all the same`, { timeout: 60_000 }, async () => {
    await using platform = await startRunpodPlatform({ pingIntervalMs: 100 });
    const config = runpodConfig(platform.env());
    await using rig = await startRig(createScriptedEngine(), { sources: { runpod: { ...config, [missing]: "" } } });
    if (missing === "apiKey") await rig.untilLine(/refuses this worker's key \(401\)/);
    else {
      platform.submit({ id: "job", input: {} });
      await platform.waitForResult("job", limit());
    }
    await rig.shutDown();
    assert.deepEqual(platform.calls("ping"), []);
  });
}

test("A failed ping is tried again soon, and pings go on in spite of every answer", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform({ pingIntervalMs: 600_000 });
  for (const fault of [{ status: 429 }, { status: 500 }, { drop: "before" }] as const) platform.fail("ping", fault);
  await using rig = await startRig(createScriptedEngine(), { sources: { runpod: runpodConfig(platform.env()) } });
  await platform.waitFor("a good ping", () => platform.calls("ping").find(({ status }) => status === 200), limit());
  assert.equal(platform.calls("ping").length, 4);
  await rig.shutDown();
});

test("The URLs of RunPod's own simulator work: no job in the path of job-done, no stop endpoint, input that is mere text", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform({ simulator: true });
  platform.fail("job-stop", { status: 404 }, { times: 1000 });
  await using rig = await startRig(createScriptedEngine("engine", 2), { sources: { runpod: { ...runpodConfig(platform.env()), concurrency: 2 } } });
  platform.submit({ id: "a", input: { x: 1 } }, { id: "b", input: "A sentence.", mock_delay: 3 }, { id: "c", input: {} });
  await platform.waitForAll(limit());
  await rig.shutDown();
  assert.match(platform.results("a")[0]?.text ?? "", /^\{"output":/);
  assert.match(platform.results("b")[0]?.text ?? "", /^\{"error":"job\.invalid: /);
  for (const done of platform.calls("job-done")) assert.equal(done.url, "/v2/localep/job-done/localpod01?isStream=false");
  assert.deepEqual(platform.violations, []);
});

test("A result's limit follows the kind of the job, or the config", { timeout: 60_000 }, async () => {
  const { RunpodSource } = await import("../../src/jobs/sources/runpod.ts");
  const { createLog } = await import("../../src/log/log.ts");
  const limitsOf = (maxResult: number | undefined) => {
    const parts = {
      limits: { maxDepth: 8, maxBytes: 1000 },
      log: createLog({ write: () => {} }),
      emit: () => {},
      pulse: { isAlive: true },
      endContainer: () => {},
    };
    const source = new RunpodSource({ ...parts, config: { ...runpodConfig({}), maxResult } });
    return ["sync-1-e1", "1-u1"].map((id) => source.maxResultBytes(source.adopt({ id, source: "runpod", input: {}, extra: {}, receivedAt: 0 })));
  };
  assert.deepEqual(
    [limitsOf(undefined), limitsOf(5_000_000)],
    [
      [20_000_000, 10_000_000],
      [5_000_000, 5_000_000],
    ],
  );
});
