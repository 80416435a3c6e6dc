import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { connectControl } from "../../src/control/client.ts";
import { FettleError } from "../../src/errors/fettle-error.ts";
import type { StampedEvent } from "../../src/events/event.ts";
import { createRig, ready } from "./rig.ts";
import { spawnSupervisor } from "./spawned.ts";

const isCode = (code: string) => (error: unknown) => error instanceof FettleError && error.code === code;

test("the worker's view: settings, a snapshot, then numbered events without a gap, and reports", async () => {
  await using rig = await createRig();
  const settings = { profile: "test", stateDir: "/s", runtimeDir: "/r", sources: {}, jobs: { timeout: 1 }, results: {}, engines: [], stopBudgetMs: 1 } as never;
  const flag = join(rig.dir, "files/ready");
  const engines = [
    {
      name: "webui",
      kind: "a1111",
      url: "http://127.0.0.1:1",
      slots: 1,
      service: "webui",
      readiness: { type: "file" as const, path: flag, periodMs: 5, timeoutMs: 5, startupMs: 0, logEvery: 0 },
    },
  ];
  const run = rig.run(rig.plan([rig.service("webui", { role: "engine", ...ready({ type: "file", path: flag }) })], { engines }), { workerSettings: settings });
  await rig.started("webui");
  const control = connectControl(join(rig.dir, "run/control.sock"));
  assert.deepEqual(await control.workerSettings(), settings);
  const before = await control.snapshot();
  assert.deepEqual([before.state, before.engines[0]?.ready, before.services[0]?.state], ["starting", false, "starting"]);

  const seen: StampedEvent[] = [];
  const follow = (async () => {
    for await (const event of control.events(0)) seen.push(event);
  })();
  await (await rig.started("webui")).order({ touch: flag });
  await run.event("supervisor.ready");
  await control.report([
    { type: "worker.listening", url: "http://127.0.0.1:8000" },
    { type: "job.received", job: "j1", source: "http", recovered: false },
    { type: "job.done", job: "j1", source: "http", engineMs: 5, sizeBytes: 6 },
  ]);
  const after = await control.snapshot();
  assert.deepEqual(
    [after.state, after.engines[0]?.ready, after.jobApi, after.jobs],
    ["ready", true, "http://127.0.0.1:8000", { received: 1, done: 1, failed: 0 }],
  );
  assert.ok(after.timeline.some(({ stage, endedMs }) => stage === "first job" && endedMs !== undefined));
  await assert.rejects(control.report([{ type: "service.stopped", service: "webui" }]), isCode("cli.bad-value"));
  await run.stop();
  await follow;
  assert.deepEqual(
    seen.map(({ seq }) => seq),
    run.events.map(({ seq }) => seq).slice(0, seen.length),
  );
  assert.ok(seen.some(({ type }) => type === "supervisor.stopped"));
  await assert.rejects(control.snapshot(), isCode("supervise.no-instance"));
});

test("services are restarted and stopped by name; several restarts at once are one", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("a"), rig.service("b")]));
  await rig.started("a");
  await rig.started("b");
  const control = connectControl(join(rig.dir, "run/control.sock"));
  await Promise.all([control.restart("a"), control.restart("a"), control.restart("a")]);
  await rig.started("a", 2);
  assert.equal((await control.stop("b")).state, "exited");
  assert.equal(rig.callers.find(({ name }) => name === "b")?.isGone, true);
  assert.equal((await control.snapshot()).state, "degraded");
  await control.restart("b");
  await rig.started("b", 2);
  await run.event("service.ready", "b", 2);
  const { state, services } = await control.snapshot();
  assert.deepEqual([state, services.map(({ restarts }) => restarts)], ["ready", [1, 1]]);
  await assert.rejects(control.restart("c"), isCode("supervise.unknown-service"));
  await run.stop();
  assert.equal(rig.callers.filter(({ name }) => name === "a").length, 2);
});

test("a restart under way does not survive the stop of everything", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("a")]));
  const a = await rig.started("a");
  await a.order({ ignoreTerm: true });
  const control = connectControl(join(rig.dir, "run/control.sock"));
  const restarted = control.restart("a").catch((error: unknown) => error);
  await rig.until("the signal", () => a.signals[0]);
  const stopped = run.stop();
  await assert.rejects(control.restart("a"), isCode("supervise.stopping"));
  await a.order({ exit: 0 });
  assert.equal(await stopped, 0);
  await restarted;
  assert.equal(rig.callers.length, 1);
});

test("logs: the last lines, then what comes, each block once", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("a")]));
  const a = await rig.started("a");
  const control = connectControl(join(rig.dir, "run/control.sock"));
  for (const line of ["one", "two", "three"]) await a.order({ print: line });
  const text = async (lines: number) => {
    let all = "";
    for await (const block of control.logs("a", { lines })) all += block.toString();
    return all;
  };
  await rig.until("the lines in the log", () => run.events.length || undefined);
  while ((await text(2)) !== "two\nthree\n") await a.order({});
  const stop = new AbortController();
  let followed = "";
  const following = (async () => {
    for await (const block of control.logs("a", { lines: 1, follow: true, signal: stop.signal })) {
      followed += block.toString();
      rig.changed();
      if (followed.includes("five")) stop.abort();
    }
  })();
  await rig.until("the tail", () => followed.includes("three") || undefined);
  await a.order({ print: "four" });
  await a.order({ print: "five" });
  await following;
  assert.match(followed, /^three\nfour\nfive\n$/);
});

test("a second fettle on the same folder is refused; a dead one's socket is replaced", async () => {
  await using rig = await createRig();
  const dir = join(rig.dir, "run");
  mkdirSync(dir);
  writeFileSync(join(dir, "control.sock"), "left behind");
  const first = rig.run(rig.plan([rig.service("a")]));
  await rig.started("a");
  await assert.rejects(rig.run(rig.plan([rig.service("b")])).exitCode, isCode("supervise.already-running"));
  assert.equal((await connectControl(join(dir, "control.sock")).snapshot()).services[0]?.name, "a");
  assert.equal(await first.stop(), 0);
  assert.ok(!rig.callers.some(({ name }) => name === "b"));
});

test("after kill -9 the folder serves the next start", async () => {
  await using rig = await createRig();
  const plan = rig.plan([rig.service("a")]);
  await using dead = spawnSupervisor(rig, plan);
  await rig.started("a");
  process.kill(dead.pid, "SIGKILL");
  await dead.ended;
  assert.ok(existsSync(join(dead.runtimeDir, "control.sock")));
  const run = rig.run(plan);
  await rig.started("a", 2);
  assert.equal(await run.stop(), 0);
});

test("the machine's health over HTTP; a port that is taken is a warning", async () => {
  await using rig = await createRig();
  const taken = createServer();
  await new Promise<void>((resolve) => void taken.listen(0, "127.0.0.1", resolve));
  const port = (taken.address() as { port: number }).port;
  const flag = join(rig.dir, "files/ready");
  const plan = rig.plan([rig.service("a", ready({ type: "file", path: flag }))]);
  const without = rig.run(plan, { health: { listen: "127.0.0.1", port } });
  assert.match((await without.event("supervisor.warned")).message, /the port is taken/);
  await rig.started("a");
  await without.stop();
  await new Promise((resolve) => taken.close(resolve));

  const run = rig.run(plan, { health: { listen: "127.0.0.1", port } });
  const a = await rig.started("a", 2);
  const get = (path: string) => fetch(`http://127.0.0.1:${port}${path}`);
  assert.equal((await get("/health")).status, 503);
  await a.order({ touch: flag });
  await run.event("supervisor.ready");
  const health = await get("/health");
  assert.deepEqual([health.status, ((await health.json()) as { state: string }).state], [200, "ready"]);
  assert.deepEqual(await (await get("/ready")).json(), { ready: true, state: "ready" });
  const metrics = await (await get("/metrics")).text();
  assert.match(metrics, /^fettle_up 1$/m);
  assert.match(metrics, /^fettle_service_ready\{service="a",role="service"\} 1$/m);
  assert.equal((await get("/nothing")).status, 404);
});

test("a reader that does not read is cut off; the service it follows is never held up", async () => {
  await using rig = await createRig();
  const script = "import os\nos.read(0, 1)\nline = b'x' * 999 + b'\\n'\nfor n in range(40000): os.write(1, line)\n";
  const argv = ["/bin/sh", "-c", `while [ ! -e ${rig.dir}/files/go ]; do sleep 0.02; done; exec python3 -c "$0"`, script];
  const run = rig.run(rig.plan([rig.service("writer", { role: "task", argv, restart: { ...rig.service("x").restart, policy: "never" } }), rig.service("b")]));
  await run.event("service.spawned", "writer");
  const socket = connect({ path: join(rig.dir, "run/control.sock") });
  socket.write("GET /services/writer/logs?follow=1 HTTP/1.1\r\nhost: fettle\r\n\r\n");
  // Reads the head, then nothing more.
  await new Promise<void>((resolve) => void socket.once("readable", () => resolve()));
  writeFileSync(join(rig.dir, "files/go"), "");
  assert.deepEqual((await run.event("service.exited", "writer")).ending, { code: 0, signal: null });
  let read = 0;
  for await (const chunk of socket) read += (chunk as Buffer).length;
  assert.ok(read < 40_000_000, `cut off after ${read} bytes`);
  const kept = readdirSync(join(rig.dir, "log"))
    .filter((name) => name.startsWith("writer.log"))
    .reduce((sum, name) => sum + statSync(join(rig.dir, "log", name)).size, 0);
  assert.equal(kept, 40_000_000);
  assert.equal(await run.stop(), 0);
});

test("the worker can end the whole with a code of its own; half a wish is refused", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("engine", {})]));
  await rig.started("engine");
  const control = connectControl(join(rig.dir, "run/control.sock"));
  for (const wish of [{ exitCode: 256, reason: "x" }, { exitCode: -1, reason: "x" }, { exitCode: 1 }, null])
    await assert.rejects(control.end(wish as never), isCode("cli.bad-value"));
  await control.end({ exitCode: 7, reason: "this machine is not fit" });
  assert.equal(await run.exitCode, 7);
  assert.ok(run.events.some((event) => event.type === "supervisor.stopping" && event.reason === "this machine is not fit"));
});
