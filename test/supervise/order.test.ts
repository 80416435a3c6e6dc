import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createRig, ready } from "./rig.ts";

test("services start when their conditions hold and stop in reverse order", async () => {
  await using rig = await createRig();
  const flag = join(rig.dir, "files/db");
  const services = [
    rig.service("web", { dependsOn: [{ service: "db", condition: "ready" }] }),
    rig.service("db", { dependsOn: [{ service: "setup", condition: "completed" }], ...ready({ type: "file", path: flag }) }),
    rig.service("watcher", { dependsOn: [{ service: "db", condition: "started" }] }),
    rig.service("setup", { role: "task", restart: { ...rig.service("x").restart, policy: "never" } }),
  ];
  const run = rig.run(rig.plan(services));
  const setup = await rig.started("setup");
  assert.deepEqual(rig.story, ["setup up"]);
  await setup.order({ exit: 0 });
  const db = await rig.started("db");
  await rig.started("watcher");
  assert.ok(!rig.story.includes("web up"), "web started before db was ready");
  await db.order({ touch: flag });
  await rig.started("web");
  await run.event("supervisor.ready");
  assert.equal(readFileSync(join(rig.dir, "run/db.pid"), "utf8"), `${db.pid}\n`);
  assert.equal(statSync(join(rig.dir, "run")).mode & 0o777, 0o700);
  assert.equal(statSync(join(rig.dir, "run/control.sock")).mode & 0o777, 0o600);

  assert.equal(await run.stop(), 0);
  await rig.until("all gone", () => (rig.callers.every(({ isGone }) => isGone) ? true : undefined));
  const at = (what: string) => rig.story.indexOf(what);
  assert.ok(at("web gone") < at("db SIGTERM"), `db was stopped before its dependant: ${rig.story.join(", ")}`);
  assert.ok(at("watcher gone") < at("db SIGTERM"));
  assert.ok(!existsSync(join(rig.dir, "run/db.pid")), "the PID file stayed");
  assert.ok(!existsSync(join(rig.dir, "run/control.sock")), "the socket stayed");
});

test("the worker drains before anything else stops", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("engine", { role: "engine" }), rig.service("worker", { role: "worker" }), rig.service("proxy")]));
  await Promise.all(["engine", "worker", "proxy"].map((name) => rig.started(name)));
  await (await rig.started("worker")).order({ ignoreTerm: true });
  const stopped = run.stop();
  await rig.until("the worker's signal", () => (rig.story.includes("worker SIGTERM") ? true : undefined));
  assert.ok(!rig.story.includes("engine SIGTERM") && !rig.story.includes("proxy SIGTERM"));
  await (await rig.started("worker")).order({ exit: 0 });
  assert.equal(await stopped, 0);
  assert.ok(rig.story.indexOf("worker gone") < rig.story.indexOf("engine SIGTERM"));
});

test("a stop during the start is obeyed: what waits never starts", async () => {
  await using rig = await createRig();
  const run = rig.run(
    rig.plan([
      rig.service("a", ready({ type: "file", path: join(rig.dir, "never") })),
      rig.service("b", { dependsOn: [{ service: "a", condition: "ready" }] }),
    ]),
  );
  await rig.started("a");
  assert.equal(await run.stop(), 0);
  assert.deepEqual(
    rig.callers.map(({ name }) => name),
    ["a"],
  );
});

test("a failed dependency gives its dependants the reason, and releases them when it comes back", async () => {
  await using rig = await createRig();
  const once = { ...rig.service("x").restart, policy: "never" as const };
  const run = rig.run(
    rig.plan([rig.service("setup", { role: "task", restart: once }), rig.service("web", { dependsOn: [{ service: "setup", condition: "completed" }] })]),
  );
  await (await rig.started("setup")).order({ exit: 3 });
  assert.match((await run.event("service.failed", "web")).reason, /setup ended with code 3/);
  const { connectControl } = await import("../../src/control/client.ts");
  const control = connectControl(join(rig.dir, "run/control.sock"));
  const web = (await control.snapshot()).services.find(({ name }) => name === "web");
  assert.equal(web?.state, "waiting");
  assert.match(web?.reason ?? "", /setup ended with code 3/);
  await control.restart("setup");
  await (await rig.started("setup", 2)).order({ exit: 0 });
  await rig.started("web");
});

test("when every service has ended by itself, fettle ends too", async () => {
  await using rig = await createRig();
  const once = { ...rig.service("x").restart, policy: "never" as const };
  const run = rig.run(rig.plan([rig.service("one", { role: "task", restart: once }), rig.service("two", { role: "task", restart: once })]));
  await (await rig.started("one")).order({ exit: 0 });
  await (await rig.started("two")).order({ exit: 5 });
  assert.equal(await run.exitCode, 5);
});
