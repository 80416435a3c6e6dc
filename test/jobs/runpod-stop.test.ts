import assert from "node:assert/strict";
import { test } from "node:test";
import { stopsIn } from "../../src/jobs/sources/runpod-stop.ts";
import { siblingOf } from "../../src/jobs/sources/runpod-url.ts";
import { startNoopEngine } from "../doubles/noop-engine.ts";
import { type Fault, startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { connect } from "../engines/sdapi/connection.ts";
import { createScriptedEngine, untilInterrupted } from "./scripted-engine.ts";
import { limit, runpodConfig, startRig } from "./worker-rig.ts";

test("The stop URL is that of job-take with another word, and its query", () => {
  assert.equal(siblingOf("https://x/v2/ep/job-take/$ID?gpu=a+b", "job-stop"), "https://x/v2/ep/job-stop/$ID?gpu=a+b");
  assert.equal(siblingOf("https://x/take", "job-stop"), undefined);
});

for (const [text, ids] of [
  ['{"jobsToStop":["a","b"]}', ["a", "b"]],
  ['{"jobsToStop":["a",1,null,{"b":2},["c"]]}', ["a"]],
  ['{"jobsToStop":[]}', []],
  ['{"jobsToStop":null}', []],
  ["{}", []],
  ["", []],
  ['{"jobsToStop":"a"}', undefined],
  ['["a"]', undefined],
  ["null", undefined],
  ["<html>", undefined],
] as const) {
  test(`A stop answer ${JSON.stringify(text)} means ${JSON.stringify(ids) ?? "nothing that can be read"}`, () => assert.deepEqual(stopsIn(text), ids));
}

test("A job that its caller cancels is interrupted on the engine, ends as cancelled, and the next one runs", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  await using noop = await startNoopEngine();
  await using rig = await startRig(connect(noop.url, { kind: "diffusers" }), { sources: { runpod: runpodConfig(platform.env()) } });
  platform.submit({ id: "long", input: { prompt: "long", noop: { hold: true } } });
  await noop.waitFor({ running: 1 }, limit());
  platform.stopJob("long");
  await noop.waitFor({ interrupts: 1 }, limit());
  const post = await platform.waitForResult("long", limit());
  assert.match(JSON.parse(post.text ?? "").error, /^job\.cancelled: /);
  platform.submit({ id: "next", input: { prompt: "next" } });
  assert.match((await platform.waitForResult("next", limit())).text ?? "", /^\{"output":/);
  await rig.shutDown();
  assert.ok(rig.events.some((event) => event.type === "job.cancelled" && event.job === "long"));
  assert.deepEqual((await noop.stats()).prompts["long"], { started: 1, finished: 1 });
  assert.deepEqual(platform.violations, []);
});

test("A job that still waits for the engine is cancelled unrun; an unknown id hurts nobody", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine();
  const sources = { runpod: { ...runpodConfig(platform.env()), concurrency: 2, takeWhen: "always" as const } };
  await using rig = await startRig(engine, { sources });
  engine.script = (_attempt, { signal }) => untilInterrupted(signal);
  platform.submit({ id: "runs", input: {} }, { id: "waits", input: {} });
  await platform.waitForHandout("waits", limit());
  await engine.facts.until("one runs", () => engine.attempts[0], limit());
  platform.answerNextStop('{"jobsToStop":["ghost",7,"waits"]}');
  assert.match((await platform.waitForResult("waits", limit())).text ?? "", /job\.cancelled/);
  platform.stopJob("runs");
  assert.match((await platform.waitForResult("runs", limit())).text ?? "", /job\.cancelled/);
  await rig.shutDown();
  assert.equal(engine.attempts.length, 1);
});

test("A stop that overtakes its job is kept for it", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine();
  await using rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) } });
  await platform.waitForHeldTake(limit());
  platform.answerNextStop('{"jobsToStop":["late"]}');
  await platform.waitFor("the worker asks again", () => platform.calls("job-stop")[1], limit());
  platform.submit({ id: "late", input: {} });
  assert.match((await platform.waitForResult("late", limit())).text ?? "", /job\.cancelled/);
  await rig.shutDown();
  assert.equal(engine.attempts.length, 0);
});

test("Without news and in trouble the stop channel is asked once a second at most, says so once, and comes back", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  platform.setHold(0);
  const faults: Fault[] = [{ status: 500 }, { html: true }];
  for (const fault of faults) platform.fail("job-stop", fault);
  const engine = createScriptedEngine();
  engine.script = (_attempt, { signal }) => untilInterrupted(signal);
  await using rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) } });
  platform.submit({ id: "held", input: {} });
  const good = await platform.waitFor("a good answer", () => platform.calls("job-stop").find(({ status, fault }) => status === 204 && !fault), limit(30_000));
  const polls = platform.calls("job-stop");
  for (let index = 1; index < polls.length; index++) {
    const between = (polls[index]?.arrivedAtMs ?? 0) - (polls[index - 1]?.answeredAtMs ?? 0);
    assert.ok(between >= 950, `${between} ms after an answer`);
  }
  assert.equal(rig.lines.filter((line) => line.includes("Cannot ask RunPod for cancelled jobs")).length, 1);
  platform.setHold(25_000);
  platform.stopJob("held");
  assert.match((await platform.waitForResult("held", limit())).text ?? "", /job\.cancelled/);
  assert.equal(good.status, 204);
});

test("A take URL of another form turns batches and the stop channel off, with one warning", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const config = runpodConfig(platform.env());
  const takeUrl = config.takeUrl.replace("/job-take/", "//job-take/").replace("job-take/", "job-take%2f");
  await using rig = await startRig(createScriptedEngine("engine", 4), { sources: { runpod: { ...config, takeUrl, concurrency: 4 } } });
  await rig.untilLine(/run to their end/);
  await platform.waitFor("a take", () => platform.requests.find(({ url }) => url.includes("job-take%2f")), limit());
  assert.deepEqual([platform.calls("job-stop"), platform.calls("job-take-batch")], [[], []]);
});
