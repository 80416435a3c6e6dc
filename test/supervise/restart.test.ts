import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { RestartRecord } from "../../src/supervise/restart.ts";
import { createRig, ready } from "./rig.ts";

const rule = { policy: "always", firstMs: 500, factor: 2, maxMs: 3000, resetAfterMs: 30_000, maxRestarts: 5, windowMs: 300_000 } as const;
const noJitter = () => 0;

test("delays grow from first to max, and too many within the window are a crash loop", () => {
  const record = new RestartRecord(rule, noJitter);
  const verdicts = [1, 2, 3, 4, 5, 6].map((second) => record.failed(second * 1000, 0));
  assert.deepEqual(
    verdicts.map((one) => (one.type === "again" ? one.delayMs : one.type)),
    [500, 1000, 2000, 3000, 3000, "crash-loop"],
  );
});

test("the first crash of a service that had been ready is mended at once", () => {
  const record = new RestartRecord(rule, noJitter);
  const delays = [record.failed(1000, 500), record.failed(2000, 500), record.failed(3000, 500), record.failed(50_000, 31_000), record.failed(51_000, 1)];
  assert.deepEqual(
    delays.map((one) => (one.type === "again" ? one.delayMs : one.type)),
    [0, 500, 1000, 0, 500],
  );
});

test("failures spread wider than the window are no crash loop; jitter only shortens", () => {
  const record = new RestartRecord({ ...rule, maxRestarts: 1 }, () => 1);
  assert.deepEqual(record.failed(0, 0), { type: "again", delayMs: 400, restarts: 1 });
  assert.equal(record.failed(300_001, 0).type, "again");
  assert.equal(record.failed(300_002, 0).type, "crash-loop");
});

test("a dead service comes back, by its policy", async () => {
  await using rig = await createRig();
  const restart = rig.service("x").restart;
  const run = rig.run(
    rig.plan([
      rig.service("always"),
      rig.service("failing", { restart: { ...restart, policy: "on-failure" } }),
      rig.service("never", { restart: { ...restart, policy: "never" } }),
    ]),
  );
  await (await rig.started("always")).order({ exit: 0 });
  await (await rig.started("failing")).order({ die: "SIGKILL" });
  await (await rig.started("never")).order({ exit: 1 });
  await rig.started("always", 2);
  const failing = await rig.started("failing", 2);
  assert.equal((await run.event("service.exited", "failing")).ending.signal, "SIGKILL");
  assert.equal((await run.event("service.spawned", "failing", 2)).restarts, 1);
  await failing.order({ exit: 0 });
  await run.event("service.exited", "failing", 2);
  await run.stop();
  assert.deepEqual(rig.callers.map(({ name }) => name).toSorted(), ["always", "always", "failing", "failing", "never"]);
});

test("a crash loop is given up with the last lines; an engine's makes the machine unhealthy, not dead", async () => {
  await using rig = await createRig();
  const argv = ["/bin/sh", "-c", "echo model.safetensors is broken; exit 7"];
  const run = rig.run(rig.plan([rig.service("engine", { role: "engine", argv }), rig.service("other")]));
  const { restarts, lastLines } = await run.event("service.crash-looping", "engine");
  assert.equal(restarts, 3);
  assert.deepEqual(lastLines, ["model.safetensors is broken"]);
  const { connectControl } = await import("../../src/control/client.ts");
  const snapshot = await connectControl(join(rig.dir, "run/control.sock")).snapshot();
  assert.equal(snapshot.state, "degraded");
  assert.equal(await run.stop(), 0);
});

test("an essential service ends the container with its own code, after its last restart", async () => {
  await using rig = await createRig();
  const restart = { ...rig.service("x").restart, maxRestarts: 1 };
  const run = rig.run(rig.plan([rig.service("handler", { essential: true, restart, argv: ["/bin/sh", "-c", "exit 42"] }), rig.service("other")]));
  assert.equal(await run.exitCode, 42);
  assert.equal(run.events.filter(({ type }) => type === "service.spawned").filter((one) => "service" in one && one.service === "handler").length, 2);
});

test("an essential service that dies by a signal gives 128+n", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("handler", { essential: true, restart: { ...rig.service("x").restart, policy: "never" } }), rig.service("other")]));
  await rig.started("other");
  await (await rig.started("handler")).order({ die: "SIGKILL" });
  assert.equal(await run.exitCode, 137);
  assert.ok(rig.story.includes("other SIGTERM"));
});

test("a start that takes too long is a failure; the child is ended before the next try", async () => {
  await using rig = await createRig();
  const probe = { type: "file" as const, path: join(rig.dir, "never"), periodMs: 5, timeoutMs: 1000, startupMs: 300, logEvery: 3 };
  const run = rig.run(rig.plan([rig.service("slow", { readiness: probe, restart: { ...rig.service("x").restart, maxRestarts: 0 } })]));
  assert.match((await run.event("service.failed", "slow")).reason, /not ready after 0.3 s: .*no such file/);
  await run.event("service.crash-looping", "slow");
  assert.equal((await run.event("service.waiting", "slow")).tries, 3);
});

test("stopping during the back-off ends it", async () => {
  await using rig = await createRig();
  const restart = { ...rig.service("x").restart, firstMs: 600_000, maxMs: 600_000 };
  const run = rig.run(rig.plan([rig.service("a", { restart, argv: ["/bin/false"], ...ready({ type: "file", path: join(rig.dir, "never") }) })]));
  await run.event("service.backing-off", "a");
  assert.equal(await run.stop(), 0);
});
