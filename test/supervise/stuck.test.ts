/** Processes that not even SIGKILL ends: frozen by a cgroup (state D, as one stuck in a driver), or dead and held back by a tracer. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { pause } from "../../src/util/pause.ts";
import { createRig, quick } from "./rig.ts";
import { spawnSupervisor } from "./spawned.ts";

const freezer = "/sys/fs/cgroup/freezer";
let serial = 0;
const patient = { timeout: 30_000 };

interface Ice extends AsyncDisposable {
  freeze(pid: number): Promise<void>;
}

/** Undefined where this machine has no freezer that we may use. */
function openFreezer(): Ice | undefined {
  const cgroup = `${freezer}/fettle-test-${process.pid}-${++serial}`;
  try {
    mkdirSync(cgroup);
  } catch {
    return undefined;
  }
  const state = (word: string) => writeFileSync(`${cgroup}/freezer.state`, word);
  return {
    async freeze(pid) {
      writeFileSync(`${cgroup}/cgroup.procs`, String(pid));
      state("FROZEN");
      while (readFileSync(`${cgroup}/freezer.state`, "utf8") !== "FROZEN\n") await pause(5);
    },
    async [Symbol.asyncDispose]() {
      state("THAWED");
      // The dead leave the cgroup one after the other.
      while (readFileSync(`${cgroup}/cgroup.procs`, "utf8") !== "") await pause(5);
      rmdirSync(cgroup);
    },
  };
}

const frozen = (name: string, body: (ice: Ice) => Promise<void>) =>
  test(name, patient, async (t: TestContext) => {
    await using ice = openFreezer();
    if (!ice) return t.skip("SKIPPED: there is no cgroup freezer to write to, so nothing survives SIGKILL here");
    await body(ice);
  });

frozen("a stop is over within its budget although one process survives SIGKILL; it is named, and the exit code says 128+n", async (ice) => {
  await using rig = await createRig();
  const services = [rig.service("below"), rig.service("stuck", { dependsOn: [{ service: "below", condition: "ready" }] })];
  const run = rig.run(rig.plan(services, { stopBudgetMs: 1500 }));
  const stuck = await rig.started("stuck");
  await ice.freeze(stuck.pid);
  assert.equal(await run.stop(), 143);
  const said = run.events.flatMap((event) => (event.type === "supervisor.warned" ? [event.message] : []));
  assert.ok(said.includes(`Cannot end stuck: process ${stuck.pid} survives SIGKILL.`), said.join("\n"));
  const { afterMs } = await run.event("supervisor.stopped");
  assert.ok(afterMs < 1500 + 1500, `the stop took ${afterMs} ms`);
  // Its dependency had its turn nevertheless.
  assert.deepEqual((await rig.started("below")).signals, ["SIGTERM"]);
});

frozen("fettle's own process ends too, while the child is still there", async (ice) => {
  await using rig = await createRig();
  await using supervisor = spawnSupervisor(rig, rig.plan([rig.service("stuck")], { stopBudgetMs: 1000 }));
  await ice.freeze((await rig.started("stuck")).pid);
  process.kill(supervisor.pid, "SIGTERM");
  assert.deepEqual(await supervisor.ended, { code: 143, signal: null });
});

frozen("one that hangs and survives SIGKILL is given up: no second copy beside it, the others go on", async (ice) => {
  await using rig = await createRig();
  const liveness = { type: "exec" as const, argv: ["/bin/sh", "-c", `test ! -e ${rig.dir}/files/hung`], ...quick, failures: 2 };
  const run = rig.run(rig.plan([rig.service("engine", { role: "engine", liveness, stop: { signal: "SIGTERM", graceMs: 50 } }), rig.service("other")]));
  const engine = await rig.started("engine");
  await rig.started("other");
  await run.event("service.ready", "engine");
  await ice.freeze(engine.pid);
  writeFileSync(`${rig.dir}/files/hung`, "");
  assert.equal((await run.event("service.given-up", "engine")).reason, `process ${engine.pid} survives SIGKILL`);
  assert.equal(rig.callers.filter(({ name }) => name === "engine").length, 1);
  assert.equal((await rig.started("other")).isGone, false);
  assert.equal(await run.stop(), 0);
});

test("a dead child whose tracer hides its end holds nothing up", patient, async (t) => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("traced")], { stopBudgetMs: 1500 }));
  const traced = await rig.started("traced");
  // PTRACE_SEIZE; from here on only the tracer learns that the process is dead.
  const seize =
    "import ctypes, sys; r = ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), 0, 0); print('seized' if r == 0 else 'refused', flush=True); sys.stdin.read()";
  const tracer = spawn("python3", ["-c", seize, String(traced.pid)], { stdio: ["pipe", "pipe", "ignore"] });
  const answer = await new Promise<string>((resolve) =>
    tracer.once("error", () => resolve("no python3")).stdout.once("data", (text: Buffer) => resolve(text.toString().trim())),
  );
  try {
    if (answer !== "seized") return t.skip(`SKIPPED: no process can be traced here (${answer})`);
    assert.equal(await run.stop(), 143);
    assert.ok(run.events.some((event) => event.type === "supervisor.warned" && event.message.includes("survives SIGKILL")));
  } finally {
    tracer.kill("SIGKILL");
  }
});
