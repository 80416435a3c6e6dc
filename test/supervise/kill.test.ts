import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { carriesMarker, findProcesses, isLiving, readProcess } from "../../src/supervise/process-table.ts";
import { pause } from "../../src/util/pause.ts";
import { seededRandom } from "../fixtures/seeded-random.ts";
import { createRig, isAlive, program, type Rig } from "./rig.ts";
import { type SpawnedSupervisor, spawnSupervisor } from "./spawned.ts";

const guardianOf = (supervisor: SpawnedSupervisor) =>
  findProcesses(({ parent }) => parent === supervisor.pid).find(({ pid }) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("fettle-guardian"))?.pid;

/** Whoever carries this rig's socket in its environment, its supervisor left out. */
const ofRig = (rig: Rig) => findProcesses((row) => isLiving(row) && carriesMarker(row.pid, `RIG_SOCKET=${join(rig.dir, "rig.sock")}`));

async function eventually<T>(look: () => T | undefined): Promise<T> {
  for (;;) {
    const seen = look();
    if (seen !== undefined) return seen;
    await pause(10);
  }
}

const allGone = (rig: Rig) => eventually(() => (ofRig(rig).length === 0 ? true : undefined));
const pidFiles = (dir: string) => (existsSync(dir) ? readdirSync(dir).filter((name) => name.endsWith(".pid")) : []);

test("kill -9 of each process in turn: a service comes back, the worker alone, the guardian is replaced, with fettle all end", async () => {
  await using rig = await createRig();
  const plan = rig.plan([rig.service("engine", { role: "engine" }), rig.service("worker", { role: "worker" })]);
  await using supervisor = spawnSupervisor(rig, plan);
  const engine = await rig.started("engine");
  process.kill((await rig.started("worker")).pid, "SIGKILL");
  await rig.started("worker", 2);
  assert.equal(engine.isGone, false);
  process.kill(engine.pid, "SIGKILL");
  await rig.started("engine", 2);
  const guardian = await eventually(() => guardianOf(supervisor));
  process.kill(guardian, "SIGKILL");
  await eventually(() => {
    const now = guardianOf(supervisor);
    return now === undefined || now === guardian ? undefined : now;
  });
  process.kill(supervisor.pid, "SIGKILL");
  await allGone(rig);
  await eventually(() => (pidFiles(supervisor.runtimeDir).length === 0 ? true : undefined));
});

test("fettle and its guardian killed at once: the next start ends what they left, before anything else starts", async () => {
  await using rig = await createRig();
  const plan = rig.plan([rig.service("a"), rig.service("b")]);
  await using dead = spawnSupervisor(rig, plan);
  const [a, b] = [await rig.started("a"), await rig.started("b")];
  await b.order({ child: "session" });
  const away = await rig.started("b/session");
  const guardian = await eventually(() => guardianOf(dead));
  // Stopped, fettle cannot mend the loss of its guardian before it is killed itself.
  process.kill(dead.pid, "SIGSTOP");
  process.kill(guardian, "SIGKILL");
  process.kill(dead.pid, "SIGKILL");
  await dead.ended;
  assert.ok([a, b, away].every(({ pid }) => isAlive(pid)));
  const run = rig.run(plan);
  await rig.started("a", 2);
  assert.ok(![a, b, away].some(({ pid }) => isAlive(pid)));
  assert.match((await run.event("supervisor.warned")).message, /former run had left processes behind/);
  assert.equal(await run.stop(), 0);
});

test("a PID file of a former run that names a stranger by now: the stranger lives, the file is ours", async () => {
  await using rig = await createRig();
  const stranger = spawn("sleep", ["600"], { stdio: "ignore" });
  try {
    const { pid = 0 } = stranger;
    const dir = join(rig.dir, "run");
    mkdirSync(dir);
    const [boot, ticks] = [readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(), readProcess(pid)?.startTicks ?? 0];
    for (const name of ["a", "gone"]) writeFileSync(join(dir, `${name}.pid`), `${pid}\n`);
    // The same pid, another start time: what was recorded has ended long ago.
    const lines = ["a", "gone"].map((name) => `${pid} ${ticks - 1} ${join(dir, `${name}.pid`)}`);
    writeFileSync(join(dir, "processes"), `${[`${boot} abcdef012345 1 1`, ...lines].join("\n")}\n`);
    const run = rig.run(rig.plan([rig.service("a")]));
    const a = await rig.started("a");
    assert.match((await run.event("supervisor.warned")).message, new RegExp(`not ours any more.* ${pid}`));
    assert.equal(isAlive(pid), true);
    assert.deepEqual(pidFiles(dir), ["a.pid"]);
    assert.equal(readFileSync(join(dir, "a.pid"), "utf8"), `${a.pid}\n`);
    assert.equal(await run.stop(), 0);
    assert.deepEqual(readdirSync(dir), []);
  } finally {
    stranger.kill("SIGKILL");
  }
});

test("SIGTERM at random moments of a start: no orphan, no hang, no PID file, no other exit code", async () => {
  const moments = Number(process.env["FETTLE_TEST_MOMENTS"] ?? 8);
  const seed = Number(process.env["FETTLE_TEST_SEED"] ?? 4);
  const random = seededRandom(seed).next;
  for (let moment = 0; moment < moments; moment++) {
    await using rig = await createRig();
    const names = ["one", "two", "three"];
    const folders = { stateDir: join(rig.dir, "state"), logDir: join(rig.dir, "log"), runtimeDir: join(rig.dir, "run") };
    const services = Object.fromEntries(
      names.map((name, index) => {
        const { argv, env } = rig.service(name);
        const before = names[index - 1];
        return [name, { command: argv, env, ...(before !== undefined && { dependsOn: { [before]: "ready" } }) }];
      }),
    );
    const config = join(rig.dir, "fettle.yaml");
    writeFileSync(config, JSON.stringify({ version: 1, ...folders, health: { enabled: false }, services }));
    const argv = program(join(import.meta.dirname, "../../src/main.ts"), "start", "--config", config);
    await using supervisor = spawnSupervisor(rig, rig.plan([]), { argv });
    const delayMs = Math.round(random() * 700);
    await pause(delayMs);
    process.kill(supervisor.pid, "SIGTERM");
    const ended = await supervisor.ended;
    const where = `moment ${moment} of seed ${seed}: ${delayMs} ms`;
    // Before its first instruction no process can obey: the system ends it, and nothing was started.
    assert.ok(ended.code === 0 || (ended.signal === "SIGTERM" && rig.callers.length === 0), `${where}: ended with ${JSON.stringify(ended)}`);
    await allGone(rig);
    assert.deepEqual(pidFiles(folders.runtimeDir), [], where);
    assert.ok(!existsSync(join(folders.runtimeDir, "control.sock")), `${where}: the socket stayed`);
  }
});
