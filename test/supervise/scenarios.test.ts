/** Scenarios that other supervisors stumbled over; the rest of the list is in the tests beside this one, by subject. */
import assert from "node:assert/strict";
import { chmodSync, closeSync, copyFileSync, openSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { connectControl } from "../../src/control/client.ts";
import type { DependencyCondition } from "../../src/plan/plan.ts";
import { createRig, quick, ready, type Rig } from "./rig.ts";

const on = (service: string, condition: DependencyCondition = "ready") => ({ service, condition });
const control = (rig: Rig) => connectControl(join(rig.dir, "run/control.sock"));
const before = (rig: Rig, first: string, then: string) => {
  const at = (what: string) => rig.story.lastIndexOf(what);
  assert.ok(at(first) >= 0 && at(first) < at(then), `"${first}" must come before "${then}": ${rig.story.join(", ")}`);
};

test("diamond: starts from the top, stops from the bottom, its two sides at once", async () => {
  await using rig = await createRig();
  const says = ready({ type: "fd", fd: 3 });
  const run = rig.run(
    rig.plan([
      rig.service("bottom", { dependsOn: [on("left"), on("right")] }),
      rig.service("left", { dependsOn: [on("top")], ...says }),
      rig.service("right", { dependsOn: [on("top")], ...says }),
      rig.service("top", says),
    ]),
  );
  await (await rig.started("top")).order({ writeTo3: "ready\n" });
  const [left, right] = [await rig.started("left"), await rig.started("right")];
  await left.order({ writeTo3: "ready\n" });
  await run.event("service.ready", "left");
  assert.ok(!rig.story.includes("bottom up"));
  await right.order({ writeTo3: "ready\n" });
  await rig.started("bottom");
  // The left side is slow to end: the right one must not wait for it, the top must wait for both.
  await left.order({ ignoreTerm: true });
  const stopped = run.stop();
  await rig.until("the right side's end, and the left one's signal", () => (right.isGone && left.signals.length > 0) || undefined);
  assert.ok(!rig.story.includes("top SIGTERM"));
  await left.order({ exit: 0 });
  assert.equal(await stopped, 0);
  before(rig, "bottom gone", "right SIGTERM");
  before(rig, "left gone", "top SIGTERM");
});

test("readiness that comes only after restarts still releases dependants", async () => {
  await using rig = await createRig();
  const flag = join(rig.dir, "files/ready");
  const run = rig.run(rig.plan([rig.service("db", ready({ type: "file", path: flag })), rig.service("web", { dependsOn: [on("db")] })]));
  for (const nth of [1, 2]) await (await rig.started("db", nth)).order({ exit: 1 });
  await (await rig.started("db", 3)).order({ touch: flag });
  await rig.started("web");
  assert.equal(await run.stop(), 0);
});

test("a dependant that comes late, after readiness was lost for a while, starts when it is back", async () => {
  await using rig = await createRig();
  const probe = { type: "exec" as const, argv: ["/usr/bin/test", "-e", join(rig.dir, "files/up")], ...quick, watchMs: 20, failures: 1 };
  const run = rig.run(rig.plan([rig.service("db", { readiness: probe }), rig.service("gate"), rig.service("web", { dependsOn: [on("db"), on("gate")] })]));
  const db = await rig.started("db");
  await db.order({ touch: join(rig.dir, "files/up") });
  await run.event("service.ready", "db");
  await rig.started("web");
  const { rmSync } = await import("node:fs");
  rmSync(join(rig.dir, "files/up"));
  await run.event("service.unready", "db");
  const restarted = control(rig).restart("web");
  await rig.until("the end of the first web", () => rig.story.includes("web gone") || undefined);
  await restarted;
  await db.order({ touch: join(rig.dir, "files/up") });
  await rig.started("web", 2);
  assert.equal(await run.stop(), 0);
});

test("restart and stop of a service that still waits: no second copy, nothing stuck", async () => {
  await using rig = await createRig();
  const flag = join(rig.dir, "files/ready");
  const run = rig.run(rig.plan([rig.service("db", ready({ type: "file", path: flag })), rig.service("web", { dependsOn: [on("db")] })]));
  const db = await rig.started("db");
  assert.equal((await control(rig).restart("web")).state, "waiting");
  assert.equal((await control(rig).stop("web")).state, "exited");
  await control(rig).restart("web");
  await db.order({ touch: flag });
  await rig.started("web");
  await run.event("service.ready", "web");
  assert.equal(await run.stop(), 0);
  assert.equal(rig.callers.filter(({ name }) => name === "web").length, 1);
});

test("an intended restart of an essential service ends nothing", async () => {
  await using rig = await createRig();
  const restart = { ...rig.service("x").restart, policy: "never" as const };
  const run = rig.run(rig.plan([rig.service("main", { essential: true, restart })]));
  await rig.started("main");
  await control(rig).restart("main");
  const second = await rig.started("main", 2);
  assert.ok(!run.events.some(({ type }) => type === "supervisor.stopping"));
  await second.order({ exit: 9 });
  assert.equal(await run.exitCode, 9);
});

test("a program that cannot be started for the moment is tried again", async () => {
  await using rig = await createRig();
  const copy = join(rig.dir, "files/sleep");
  copyFileSync("/bin/sleep", copy);
  chmodSync(copy, 0o755);
  // The system refuses to run a file that is open for writing (ETXTBSY).
  const writer = openSync(copy, "r+");
  const run = rig.run(rig.plan([rig.service("a", { argv: [copy, "600"], restart: { ...rig.service("x").restart, maxRestarts: 1000 } })]));
  await run.event("service.backing-off", "a", 2);
  closeSync(writer);
  await run.event("service.ready", "a");
  assert.equal(await run.stop(), 0);
});

test("each service has its own signal and its own grace", async () => {
  await using rig = await createRig();
  const trap = (name: string) => `trap 'echo ${name}; exit 0' ${name}; echo up; while :; do sleep 0.05; done`;
  const shell = (name: string, stop: { signal: NodeJS.Signals; graceMs: number }, script = trap(name)) =>
    rig.service(name.toLowerCase(), { argv: ["/bin/sh", "-c", script], stop, ...ready({ type: "log-line", pattern: "up" }) });
  const run = rig.run(
    rig.plan([
      shell("INT", { signal: "SIGINT", graceMs: 20_000 }),
      shell("QUIT", { signal: "SIGQUIT", graceMs: 20_000 }),
      shell("DEAF", { signal: "SIGINT", graceMs: 50 }, "trap '' INT; echo up; while :; do sleep 0.05; done"),
    ]),
  );
  await run.event("supervisor.ready");
  assert.equal(await run.stop(), 0);
  for (const name of ["int", "quit"]) assert.ok((await run.event("service.exited", name)).lastLines.includes(name.toUpperCase()));
  assert.deepEqual(
    run.events.filter(({ type }) => type === "service.killed").map((event) => "service" in event && event.service),
    ["deaf"],
  );
});

test("a daemon that forked twice belongs to its service: it ends with it, after its signal", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("leader")]));
  const leader = await rig.started("leader");
  await leader.order({ child: "session" });
  const daemon = await rig.started("leader/session");
  await daemon.order({ child: "session" });
  const second = await rig.started("leader/session/session");
  await daemon.order({ die: "SIGKILL" });
  await rig.until("the end of the one between", () => daemon.isGone || undefined);
  assert.equal(await run.stop(), 0);
  await rig.until("the daemon's end", () => second.isGone || undefined);
  assert.deepEqual(second.signals, ["SIGTERM"]);
});

test("started again while it is still being stopped: the new copy waits for the end of the old one", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("slow"), rig.service("other")]));
  const slow = await rig.started("slow");
  await slow.order({ ignoreTerm: true });
  const stopping = control(rig).stop("slow");
  await rig.until("its signal", () => slow.signals[0]);
  const restarting = control(rig).restart("slow");
  const again = control(rig).restart("slow");
  await slow.order({ exit: 0 });
  await Promise.all([stopping, restarting, again]);
  await rig.started("slow", 2);
  before(rig, "slow gone", "slow up");
  assert.equal(rig.callers.filter(({ name }) => name === "slow").length, 2);
  assert.equal(await run.stop(), 0);
});

test("a dependency restarted by hand does not fail who waits for it", async () => {
  await using rig = await createRig();
  const flag = join(rig.dir, "files/ready");
  const run = rig.run(rig.plan([rig.service("db", ready({ type: "file", path: flag })), rig.service("web", { dependsOn: [on("db")] })]));
  await rig.started("db");
  await control(rig).restart("db");
  await (await rig.started("db", 2)).order({ touch: flag });
  await rig.started("web");
  assert.ok(!run.events.some(({ type }) => type === "service.failed"));
  assert.equal(await run.stop(), 0);
});
