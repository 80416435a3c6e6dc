import assert from "node:assert/strict";
import { test } from "node:test";
import { EnginePulse } from "../../src/jobs/engine-pulse.ts";
import { Pool } from "../../src/jobs/pool.ts";
import type { Snapshot } from "../../src/control/protocol.ts";
import type { StampedEvent } from "../../src/events/event.ts";
import type { PlannedEngine } from "../../src/plan/plan.ts";
import { startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { createScriptedEngine } from "./scripted-engine.ts";
import { limit, runpodConfig, startRig } from "./worker-rig.ts";

const crash = { ending: { code: 1, signal: null }, wanted: false, lastLines: [] } as const;

test("Pings fall silent when the engine dies again and again, and come back with it", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform({ pingIntervalMs: 100 });
  const engine = createScriptedEngine("webui");
  await using rig = await startRig(engine, { sources: { runpod: runpodConfig(platform.env()) }, engineIsService: true });
  // An interval under a second works, and nothing has to be ready for it.
  await platform.waitFor("three pings", () => platform.calls("ping")[2], limit());
  rig.tell({ type: "service.ready", service: "webui", afterMs: 1 });
  rig.tell({ type: "service.exited", service: "webui", ...crash });
  await platform.waitForPing(() => true, limit());
  rig.tell({ type: "service.exited", service: "webui", ...crash });
  await rig.untilLine(/RunPod gets no pings from here on/);
  const silentFrom = platform.calls("ping").length;
  rig.tell({ type: "service.spawned", service: "webui", pid: 1, restarts: 2 });
  rig.tell({ type: "service.crash-looping", service: "webui", restarts: 3, lastLines: [] });
  rig.tell({ type: "service.ready", service: "webui", afterMs: 1 });
  await rig.untilLine(/RunPod gets pings again/);
  assert.equal(platform.calls("ping").length, silentFrom);
  await platform.waitForPing(() => true, limit());
});

function pulseOf(states: readonly string[], external = false) {
  const engines = states.map((_, index) => ({ name: `e${index}`, service: `e${index}` }) as unknown as PlannedEngine);
  if (external) engines.push({ name: "far" } as unknown as PlannedEngine);
  const snapshot = { services: states.map((state, index) => ({ name: `e${index}`, state, restarts: 0 })) } as unknown as Snapshot;
  const pool = new Pool();
  if (external) pool.add(createScriptedEngine("far"));
  const pulse = new EnginePulse({ engines, snapshot, pool });
  const tell = (type: string, service: string, rest: object = {}) => pulse.observe({ type, service, ...rest } as unknown as StampedEvent);
  return { pulse, pool, tell };
}

test("One engine of several that lives is enough; a stop that was asked for is no death", () => {
  const { pulse, tell } = pulseOf(["starting", "crash-looping"]);
  assert.equal(pulse.isAlive, true);
  tell("service.exited", "e0", { wanted: true });
  tell("service.exited", "e0", { wanted: true });
  assert.equal(pulse.isAlive, true);
  tell("service.given-up", "e0", { reason: "x" });
  assert.equal(pulse.isAlive, false);
  tell("service.ready", "e1");
  assert.equal(pulse.isAlive, true);
});

test("A worker that was restarted beside a crash-looping engine is not well; one without engines is", () => {
  assert.equal(pulseOf(["crash-looping"]).pulse.isAlive, false);
  assert.equal(pulseOf([]).pulse.isAlive, true);
  const areGivenUp = (states: readonly string[], external = false) => pulseOf(states, external).pulse.areAllGivenUp;
  assert.deepEqual(
    [areGivenUp(["crash-looping"]), areGivenUp([]), areGivenUp(["crash-looping", "ready"]), areGivenUp(["crash-looping"], true)],
    [true, false, false, false],
  );
});

test("What was missed of the supervisor's events is made good by its present state", () => {
  const { pulse, tell } = pulseOf(["ready"]);
  pulse.resume({ services: [{ name: "e0", state: "crash-looping", restarts: 5, role: "engine" }] });
  assert.deepEqual([pulse.isAlive, pulse.areAllGivenUp], [false, true]);
  tell("service.spawned", "e0");
  assert.equal(pulse.areAllGivenUp, false);
});

test("An engine of somebody else may be away for a while", () => {
  const { pulse, pool } = pulseOf([], true);
  assert.equal(pulse.isAlive, true);
  pool.setReady("far", true);
  pool.setReady("far", false);
  assert.equal(pulse.isAlive, true);
});

test("An unfit machine asks for no job, says so once, and wishes the container's end with code 1", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  platform.submit({ id: "job", input: {} });
  const checkFitness = async () => ({ check: "memory", reason: `too little memory: ${"x".repeat(400)}` });
  await using rig = await startRig(createScriptedEngine(), { sources: { runpod: runpodConfig(platform.env()) }, checkFitness });
  const ping = await platform.waitForPing((query) => query.get("status") === "unhealthy", { ...limit(), past: true });
  await rig.untilLine(/The container ends/);
  assert.equal(await rig.ended, 1);
  assert.deepEqual([rig.ends.map(({ exitCode }) => exitCode), platform.calls("job-take").length], [[1], 0]);
  assert.equal(ping.query.get("check"), "memory");
  assert.match(ping.query.get("reason") ?? "", /^too little memory: x{237}$/);
  assert.equal(ping.query.get("runpod_version"), "1.12.0");
  assert.equal(platform.calls("ping").filter(({ query }) => query.get("status") === "unhealthy").length, 1);
  assert.ok(rig.lines.some((line) => line.startsWith("[ERROR] This machine is not fit")));
});

test("The first take waits for the look at the machine, pings do not; a look that breaks is no verdict", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const verdict = Promise.withResolvers<undefined>();
  const sources = { runpod: runpodConfig(platform.env()) };
  await using rig = await startRig(createScriptedEngine(), { sources, checkFitness: () => verdict.promise });
  await platform.waitForPing(() => true, { ...limit(), past: true });
  assert.equal(platform.calls("job-take").length, 0);
  verdict.reject(new Error("broken look"));
  await platform.waitForHeldTake(limit());
  assert.ok(rig.lines.some((line) => line.includes("broken look")));
});

test("With refreshWorker a worker does one job, says stopPod, and wishes the container's end with code 0", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine();
  await using rig = await startRig(engine, { sources: { runpod: { ...runpodConfig(platform.env()), refreshWorker: true } } });
  platform.submit({ id: "one", input: {} }, { id: "two", input: {} });
  const post = await platform.waitForResult("one", limit());
  assert.match(post.text ?? "", /^\{"output":.*,"stopPod":true\}$/);
  assert.equal(await rig.ended, 0);
  assert.deepEqual([rig.ends.map(({ exitCode }) => exitCode), engine.attempts.length, platform.calls("job-take").length], [[0], 1, 1]);
  assert.equal(platform.outstanding().length, 0);
});
