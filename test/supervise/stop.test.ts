import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { stopAll, type Stoppable, stopsAfter } from "../../src/supervise/shutdown.ts";
import { createRig, isAlive } from "./rig.ts";
import { spawnSupervisor } from "./spawned.ts";

test("a child that ignores SIGTERM is killed within its grace; the stop is clean", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("deaf", { stop: { signal: "SIGTERM", graceMs: 100 } })]));
  const deaf = await rig.started("deaf");
  await deaf.order({ ignoreTerm: true });
  assert.equal(await run.stop(), 0);
  await run.event("service.killed", "deaf");
  assert.deepEqual(deaf.signals, ["SIGTERM"]);
});

test("the shared budget ends longer graces, and says so by 128+n", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("deaf", { stop: { signal: "SIGTERM", graceMs: 600_000 } })], { stopBudgetMs: 200 }));
  await (await rig.started("deaf")).order({ ignoreTerm: true });
  assert.equal(await run.stop(), 143);
});

test("the whole group ends, a leader that goes early does not save it, and who left the group is found", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("leader", { stop: { signal: "SIGTERM", graceMs: 300 } })]));
  const leader = await rig.started("leader");
  await leader.order({ child: "group", deaf: true });
  await leader.order({ child: "session", holdOutput: true });
  const deaf = await rig.started("leader/group");
  const away = await rig.started("leader/session");
  assert.equal(await run.stop(), 0);
  await rig.until("the family gone", () => (deaf.isGone && away.isGone ? true : undefined));
  assert.deepEqual([leader.signals, deaf.signals, away.signals], [["SIGTERM"], ["SIGTERM"], ["SIGTERM"]]);
  assert.equal(run.events.filter(({ type }) => type === "service.killed").length, 1);
});

test("behind a leader that must be killed, who left the group still gets its signal", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("leader", { stop: { signal: "SIGTERM", graceMs: 50 } })]));
  const leader = await rig.started("leader");
  await leader.order({ child: "session" });
  const away = await rig.started("leader/session");
  await leader.order({ ignoreTerm: true });
  assert.equal(await run.stop(), 0);
  await rig.until("the stray's end", () => away.isGone || undefined);
  assert.deepEqual(away.signals, ["SIGTERM"]);
});

test("a crashed leader's family is ended before it comes back", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("leader")]));
  const leader = await rig.started("leader");
  await leader.order({ child: "group" });
  await leader.order({ child: "session" });
  const members = [await rig.started("leader/group"), await rig.started("leader/session")];
  await leader.order({ die: "SIGKILL" });
  await rig.started("leader", 2);
  await run.event("service.spawned", "leader", 2);
  assert.deepEqual(
    members.map(({ pid }) => isAlive(pid)),
    [false, false],
  );
});

test("SIGTERM ends the process with 0 and leaves nothing", async () => {
  await using rig = await createRig();
  await using supervisor = spawnSupervisor(rig, rig.plan([rig.service("a"), rig.service("b", { dependsOn: [{ service: "a", condition: "ready" }] })]));
  await rig.started("b");
  process.kill(supervisor.pid, "SIGTERM");
  assert.deepEqual(await supervisor.ended, { code: 0, signal: null });
  await rig.until("all gone", () => (rig.callers.every(({ isGone }) => isGone) ? true : undefined));
  assert.deepEqual(readdirSync(supervisor.runtimeDir), []);
});

test("a second signal hastens: SIGKILL now, exit 128+n", async () => {
  await using rig = await createRig();
  await using supervisor = spawnSupervisor(
    rig,
    rig.plan([rig.service("deaf"), rig.service("below", { stop: { signal: "SIGTERM", graceMs: 600_000 } })], { stopBudgetMs: 600_000 }),
  );
  const deaf = await rig.started("deaf");
  await rig.started("below");
  await deaf.order({ ignoreTerm: true });
  process.kill(supervisor.pid, "SIGTERM");
  await rig.until("the first signal", () => deaf.signals[0]);
  process.kill(supervisor.pid, "SIGINT");
  assert.deepEqual(await supervisor.ended, { code: 130, signal: null });
});

test("kill -9 of the supervisor leaves nobody: no child, no group member, no one who left the group", async () => {
  await using rig = await createRig();
  await using supervisor = spawnSupervisor(rig, rig.plan([rig.service("a"), rig.service("b", { dependsOn: [{ service: "a", condition: "ready" }] })]));
  const leader = await rig.started("b");
  await leader.order({ ignoreTerm: true });
  await leader.order({ child: "group", deaf: true });
  await leader.order({ child: "session", deaf: true });
  await rig.started("b/session");
  await rig.started("b/group");
  process.kill(supervisor.pid, "SIGKILL");
  await rig.until("all gone", () => (rig.callers.every(({ isGone }) => isGone) ? true : undefined));
  assert.equal(rig.callers.length, 4);
});

test("who must be gone before whom", () => {
  const service = (name: string, role: "worker" | "service", ...dependsOn: string[]) =>
    ({ name, role, dependsOn: dependsOn.map((one) => ({ service: one, condition: "ready" as const })) }) as never;
  const after = stopsAfter([service("worker", "worker"), service("engine", "service"), service("proxy", "service", "engine")]);
  assert.deepEqual(Object.fromEntries(after), { worker: [], engine: ["proxy", "worker"], proxy: ["worker"] });
});

test("those with others to stop after them leave these a share of the budget", async () => {
  const budgets: Record<string, number> = {};
  const one = (name: string, role: "worker" | "service"): Stoppable => ({
    spec: { name, role, dependsOn: [] } as unknown as Stoppable["spec"],
    stop({ budgetMs }) {
      budgets[name] = budgetMs;
      return Promise.resolve({ cutShort: name === "engine" });
    },
  });
  assert.deepEqual(await stopAll([one("engine", "service"), one("worker", "worker")], 8000), { cutShort: true });
  assert.ok((budgets["worker"] ?? 0) <= 6500 && (budgets["engine"] ?? 0) > 6500, JSON.stringify(budgets));
});
