import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { connectControl } from "../../src/control/client.ts";
import { findProcesses } from "../../src/supervise/process-table.ts";
import { pause } from "../../src/util/pause.ts";
import { createRig, fixture, isAlive, program, type Rig } from "./rig.ts";
import { spawnSupervisor } from "./spawned.ts";

const alone = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
const mayUnshare = spawnSync("unshare", [...alone.slice(1), "true"]).status === 0;
const inPidNamespace = (name: string, body: (t: TestContext) => Promise<void>) =>
  test(name, mayUnshare ? {} : { skip: "SKIPPED: unshare --pid is not permitted here, so PID 1 is not tested" }, body);

/** What the stress fixture found after so many children with three orphans each. */
async function stress(children: number, prefix: readonly string[] = []): Promise<Record<string, unknown>> {
  const [command = "", ...args] = [...prefix, ...program(fixture("init-stress.ts"), String(children))];
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) text += chunk.toString();
  return JSON.parse(text) as Record<string, unknown>;
}

function assertClean({ filesBefore, filesAfter, ...facts }: Record<string, unknown>, mechanism: string, children: number): void {
  assert.deepEqual(facts, { mechanism, children, wrong: 0, unstarted: 0, zombies: 0, left: 0 });
  assert.ok(Number(filesAfter) - Number(filesBefore) < 5, `descriptors leak: ${String(filesBefore)} before, ${String(filesAfter)} after`);
}

/** Facts of /proc have no event: asked again until they hold, or the test's own time is over. */
async function eventually<T>(look: () => T | undefined): Promise<T> {
  for (;;) {
    const seen = look();
    if (seen !== undefined) return seen;
    await pause(20);
  }
}

/** The processes whose parent that is, as this namespace sees them. */
const childrenOf = (pid: number) => findProcesses(({ parent }) => parent === pid);

/** PID 1 of the new namespace, by its number out here. */
const firstIn = (outer: number) => eventually(() => childrenOf(outer)[0]?.pid);

test("orphans are adopted and reaped, and no child's exit code is lost, as an ordinary process", async () => {
  assertClean(await stress(200), "subreaper", 200);
});

inPidNamespace("the same as PID 1", async () => {
  assertClean(await stress(200, alone), "pid-1", 200);
});

inPidNamespace("as PID 1: SIGTERM ends everything with 0, one that left its group gets its signal too", async () => {
  await using rig = await createRig();
  await using supervisor = spawnSupervisor(rig, rig.plan([rig.service("a"), rig.service("b")]), { prefix: alone });
  const leader = await rig.started("b");
  await rig.started("a");
  await leader.order({ child: "session" });
  const away = await rig.started("b/session");
  process.kill(await firstIn(supervisor.pid), "SIGTERM");
  assert.deepEqual(await supervisor.ended, { code: 0, signal: null });
  await rig.until("all gone", () => (rig.callers.every(({ isGone }) => isGone) ? true : undefined));
  assert.deepEqual(away.signals, ["SIGTERM"]);
});

inPidNamespace("as PID 1: the essential service's code and 128+n are the container's", async () => {
  for (const [order, code] of [
    [{ exit: 42 }, 42],
    [{ die: "SIGKILL" }, 137],
  ] as const) {
    await using rig = await createRig();
    const once = { ...rig.service("x").restart, policy: "never" as const };
    await using supervisor = spawnSupervisor(rig, rig.plan([rig.service("main", { essential: true, restart: once })]), { prefix: alone });
    await (await rig.started("main")).order(order);
    assert.deepEqual(await supervisor.ended, { code, signal: null });
  }
});

inPidNamespace("as PID 1 `start` puts tini in front: it passes signals on, reaps, and hands the exit code through", async (t) => {
  if (spawnSync("tini", ["--version"]).status !== 0) return t.skip("SKIPPED: tini is not installed");
  if (process.versions["deno"] !== undefined) return t.skip("SKIPPED: Deno has no execve; fettle is PID 1 itself");
  await using rig = await createRig();
  await using supervisor = spawnStart(rig, alone);
  const service = await rig.started("a");
  const first = await firstIn(supervisor.pid);
  assert.equal(readFileSync(`/proc/${first}/comm`, "utf8"), "tini\n");
  process.kill(first, "SIGTERM");
  assert.deepEqual(await supervisor.ended, { code: 0, signal: null });
  await rig.until("the service's end", () => service.isGone || undefined);
  assert.deepEqual(service.signals, ["SIGTERM"]);
});

test("an orphan with an environment of its own, outside every group, is ended with everything else", async () => {
  await using rig = await createRig();
  const note = join(rig.dir, "files/orphan");
  const script = `env -i /usr/bin/setsid /bin/sh -c 'echo $$ > ${note}; exec sleep 600' </dev/null >/dev/null 2>&1 & exit 0`;
  const once = { ...rig.service("x").restart, policy: "never" as const };
  await using supervisor = spawnSupervisor(
    rig,
    rig.plan([rig.service("daemon", { role: "task", restart: once, argv: ["/bin/sh", "-c", script] }), rig.service("a")]),
  );
  await rig.started("a");
  const orphan = await eventually(() => {
    const pid = Number(tryRead(note));
    return pid > 0 ? pid : undefined;
  });
  await eventually(() => (childrenOf(supervisor.pid).some(({ pid }) => pid === orphan) ? true : undefined));
  process.kill(supervisor.pid, "SIGTERM");
  assert.deepEqual(await supervisor.ended, { code: 0, signal: null });
  assert.equal(isAlive(orphan), false);
});

function tryRead(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** The real `fettle start` with one service. */
function spawnStart(rig: Rig, prefix: readonly string[]) {
  const config = join(rig.dir, "fettle.yaml");
  const service = rig.service("a");
  const folders = { stateDir: join(rig.dir, "state"), logDir: join(rig.dir, "log"), runtimeDir: join(rig.dir, "run") };
  const services = { a: { command: service.argv, env: service.env } };
  writeFileSync(config, JSON.stringify({ version: 1, ...folders, health: { enabled: false }, services }));
  return spawnSupervisor(rig, rig.plan([]), { prefix, argv: program(join(import.meta.dirname, "../../src/main.ts"), "start", "--config", config) });
}

inPidNamespace("as PID 1 and behind tini: SIGHUP reloads, SIGUSR1 reopens the logs, SIGINT ends it; none of them reaches a service", async () => {
  await using rig = await createRig();
  await using supervisor = spawnStart(rig, alone);
  const service = await rig.started("a");
  await service.order({ print: "a line" });
  const first = await firstIn(supervisor.pid);
  const heard: string[] = [];
  const listening = (async () => {
    for await (const { type } of connectControl(join(rig.dir, "run/control.sock")).events(0)) {
      heard.push(type);
      rig.changed();
    }
  })().catch(() => undefined);
  process.kill(first, "SIGHUP");
  await rig.until("the reload", () => heard.includes("supervisor.reloaded") || undefined);
  process.kill(first, "SIGUSR1");
  await rig.until("the new log files", () => heard.includes("supervisor.logs-reopened") || undefined);
  assert.deepEqual(service.signals, []);
  process.kill(first, "SIGINT");
  assert.deepEqual(await supervisor.ended, { code: 0, signal: null });
  await listening;
});
