import assert from "node:assert/strict";
import { test } from "node:test";
import { findFreePorts } from "../../src/machine/free-ports.ts";
import { createRig, quick } from "./rig.ts";

const soon = { periodMs: 20, timeoutMs: 300, failures: 2 };
const freePort = async () => (await findFreePorts(1))[0] ?? 0;

test("a service that has hung is noticed and restarted after its threshold, and no sooner", async () => {
  await using rig = await createRig();
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/`;
  const run = rig.run(
    rig.plan([rig.service("engine", { role: "engine", readiness: { type: "http", url, ...quick }, liveness: { type: "http", url, ...soon } })]),
  );
  const first = await rig.started("engine");
  await first.order({ serve: port });
  await run.event("service.ready", "engine");
  // Nothing but SIGKILL moves a stopped process; the kernel goes on accepting its connections.
  process.kill(first.pid, "SIGSTOP");
  assert.match((await run.event("service.failed", "engine")).reason, /does not answer any more: no answer in time/);
  const second = await rig.started("engine", 2);
  assert.equal(first.isGone, true);
  await second.order({ serve: port });
  await run.event("service.ready", "engine", 2);
  assert.equal(run.events.filter(({ type }) => type === "service.failed").length, 1);
  assert.equal(await run.stop(), 0);
});

test("a service that hangs again and again is a crash loop, with its reason", async () => {
  await using rig = await createRig();
  const restart = { ...rig.service("x").restart, maxRestarts: 1 };
  const liveness = { type: "exec" as const, argv: ["/bin/false"], ...soon };
  const run = rig.run(rig.plan([rig.service("a", { liveness, restart }), rig.service("b")]));
  await run.event("service.crash-looping", "a");
  assert.match((await run.event("service.failed", "a", 2)).reason, /\/bin\/false ended with 1/);
  assert.equal(await run.stop(), 0);
});

test("without a liveness probe a stopped engine is not ready any more, and ready again when it goes on", async () => {
  await using rig = await createRig();
  const port = await freePort();
  const readiness = { type: "http" as const, url: `http://127.0.0.1:${port}/`, ...quick, timeoutMs: 200, failures: 2, watchMs: 20 };
  const run = rig.run(rig.plan([rig.service("engine", { role: "engine", readiness })]));
  const engine = await rig.started("engine");
  await engine.order({ serve: port });
  await run.event("service.ready", "engine");
  process.kill(engine.pid, "SIGSTOP");
  await run.event("service.unready", "engine");
  process.kill(engine.pid, "SIGCONT");
  await run.event("service.ready", "engine", 2);
  assert.equal(await run.stop(), 0);
  assert.equal(rig.callers.length, 1);
});

test("readiness by a line on fd 3; closing it without one never counts", async () => {
  await using rig = await createRig();
  const readiness = { type: "fd" as const, fd: 3 as const, ...quick };
  const run = rig.run(
    rig.plan([
      rig.service("a", { readiness }),
      rig.service("b", { dependsOn: [{ service: "a", condition: "ready" }] }),
      rig.service("shy", {
        argv: ["/bin/sh", "-c", "exec 3>&-; exec sleep 600"],
        readiness: { ...readiness, startupMs: 500 },
        restart: { ...rig.service("x").restart, policy: "never" },
      }),
    ]),
  );
  const a = await rig.started("a");
  assert.match((await run.event("service.failed", "shy")).reason, /closed fd 3 without a line/);
  assert.ok(!rig.story.includes("b up"));
  await a.order({ writeTo3: "ready\n" });
  await rig.started("b");
  assert.equal(await run.stop(), 0);
});

test("successes in a row are honoured", async () => {
  await using rig = await createRig();
  const note = `${rig.dir}/files/asked`;
  const readiness = { type: "exec" as const, argv: ["/bin/sh", "-c", `echo x >> ${note}`], ...quick, successes: 3 };
  const run = rig.run(rig.plan([rig.service("a", { readiness })]));
  await run.event("service.ready", "a");
  const { readFileSync } = await import("node:fs");
  assert.equal(readFileSync(note, "utf8"), "x\nx\nx\n");
  await run.stop();
});

test("a dependant that waits for a line of output starts with it; one on a dead service gets the reason", async () => {
  await using rig = await createRig();
  const once = { ...rig.service("x").restart, policy: "never" as const };
  const run = rig.run(
    rig.plan([
      rig.service("db"),
      rig.service("web", { dependsOn: [{ service: "db", condition: "log-line", pattern: "^listening on \\d+$" }] }),
      rig.service("mute", { restart: once }),
      rig.service("late", { dependsOn: [{ service: "mute", condition: "log-line", pattern: "never" }] }),
    ]),
  );
  const db = await rig.started("db");
  await db.order({ print: "not listening yet" });
  await (await rig.started("mute")).order({ exit: 4 });
  assert.match((await run.event("service.failed", "late")).reason, /mute ended with code 4/);
  assert.ok(!rig.story.includes("web up"));
  await db.order({ print: "listening on 5432" });
  await rig.started("web");
  assert.equal(await run.stop(), 0);
});
