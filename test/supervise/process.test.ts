import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { createRig } from "./rig.ts";
import { spawnSupervisor } from "./spawned.ts";

const field = (pid: number, name: string) => new RegExp(`^${name}:\\s+(\\S+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
const limit = (pid: number | "self", name: string) => new RegExp(`^${name}\\s+(\\S+)`, "m").exec(readFileSync(`/proc/${pid}/limits`, "utf8"))?.[1];

test("a child runs with its limits, its priority and its OOM score, and so do its own children", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("a", { limits: { files: 512, core: 0, stack: 4 << 20 }, nice: 5, oomScore: 700 })]));
  const a = await rig.started("a");
  await a.order({ child: "session" });
  for (const { pid } of [a, await rig.started("a/session")]) {
    assert.deepEqual([limit(pid, "Max open files"), limit(pid, "Max core file size"), limit(pid, "Max stack size")], ["512", "0", String(4 << 20)]);
    assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8"), "700\n");
    assert.equal(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")[16], "5");
  }
  assert.equal(await run.stop(), 0);
});

test("a limit that cannot be set is a failed start with its reason, not a program without limits", async () => {
  await using rig = await createRig();
  const restart = { ...rig.service("x").restart, policy: "never" as const };
  const run = rig.run(rig.plan([rig.service("a", { limits: { files: 2 ** 31 - 1 }, restart }), rig.service("b")]));
  const { ending, lastLines } = await run.event("service.exited", "a");
  assert.notEqual(ending.code, 0);
  assert.match(lastLines.join("\n"), /limit/);
  await run.stop();
});

test("children get a clean signal mask and the soft limit on files that fettle itself was given", async () => {
  await using rig = await createRig();
  const lowered = ["/bin/sh", "-c", 'ulimit -S -n 1024; "$@"; exit', "sh"];
  await using supervisor = spawnSupervisor(rig, rig.plan([rig.service("a", { argv: ["/bin/sh", "-c", "exec sleep 600"] }), rig.service("b")]), {
    prefix: lowered,
  });
  await rig.started("b");
  const pid = Number(readFileSync(`${rig.dir}/run/a.pid`, "utf8"));
  assert.equal(limit(pid, "Max open files"), "1024");
  assert.deepEqual([field(pid, "SigBlk"), field(pid, "SigIgn")], ["0000000000000000", "0000000000000000"]);
  const own = Number(readFileSync(`/proc/${pid}/status`, "utf8").match(/^PPid:\s+(\d+)/m)?.[1]);
  process.kill(own, "SIGTERM");
  assert.deepEqual(await supervisor.ended, { code: 0, signal: null });
});
