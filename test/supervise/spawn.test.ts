import assert from "node:assert/strict";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { findProcesses } from "../../src/supervise/process-table.ts";
import { resolveUser } from "../../src/supervise/user.ts";
import { pause } from "../../src/util/pause.ts";
import { createRig } from "./rig.ts";
import { spawnSupervisor } from "./spawned.ts";

test("what cannot be started is given up at once, with the true reason", async () => {
  await using rig = await createRig();
  const script = join(rig.dir, "files/not-executable");
  writeFileSync(script, "#!/bin/sh\n");
  chmodSync(script, 0o644);
  const run = rig.run(
    rig.plan([
      rig.service("missing", { argv: ["/no/such/program"] }),
      rig.service("forbidden", { argv: [script] }),
      rig.service("nowhere", { argv: ["/bin/true"], cwd: "/no/such/folder" }),
      rig.service("nobody", { argv: ["/bin/true"], ...(process.getuid?.() === 0 && { user: "no-such-user" }) }),
    ]),
  );
  assert.equal((await run.event("service.failed", "missing")).reason, "the program /no/such/program does not exist");
  assert.match((await run.event("service.failed", "forbidden")).reason, /permission denied/);
  assert.equal((await run.event("service.failed", "nowhere")).reason, "the folder /no/such/folder does not exist");
  if (process.getuid?.() === 0) assert.equal((await run.event("service.failed", "nobody")).reason, "there is no user no-such-user");
  else await run.stop();
  assert.equal(run.events.filter(({ type }) => type === "service.backing-off").length, 0);
});

test("an essential program that does not exist ends the container with 3", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("handler", { essential: true, argv: ["/no/such/program"] }), rig.service("other")]));
  assert.equal(await run.exitCode, 3);
});

test("a child gets the plan's environment, folder and user, and nothing that would act on fettle", async () => {
  await using rig = await createRig();
  chmodSync(rig.dir, 0o777);
  const cwd = join(rig.dir, "work");
  mkdirSync(cwd, { mode: 0o777 });
  chmodSync(join(rig.dir, "rig.sock"), 0o777);
  const root = process.getuid?.() === 0;
  const run = rig.run(
    rig.plan([
      rig.service("plain", { cwd, env: { RIG_VALUE: 'seven words, $HOME and "quotes"', HOME: null } }),
      ...(root ? [rig.service("other-user", { user: "nobody", argv: ["/bin/sh", "-c", "id -u; id -G; echo $USER"] })] : []),
    ]),
    { env: { ...process.env, BUN_OPTIONS: "--smol", RIG_VALUE: "inherited", HOME: "/somewhere" } },
  );
  const plain = await rig.started("plain");
  assert.equal(plain.cwd, cwd);
  assert.equal(plain.env["RIG_VALUE"], 'seven words, $HOME and "quotes"');
  assert.equal(plain.env["BUN_OPTIONS"], undefined);
  assert.notEqual(plain.env["HOME"], "/somewhere");
  assert.match(plain.env["FETTLE_SERVICE"] ?? "", /^[0-9a-f]+:plain$/);
  if (root) assert.deepEqual((await run.event("service.exited", "other-user")).lastLines, ["65534", "65534", "nobody"]);
});

test("users and groups are found by name and by number", () => {
  const nobody = resolveUser("nobody");
  assert.ok(typeof nobody === "object" && nobody.uid === 65_534);
  assert.deepEqual(resolveUser("4711:4712"), { uid: 4711, gid: 4712 });
  assert.deepEqual(resolveUser("4711"), { uid: 4711, gid: 4711 });
  assert.equal(resolveUser("nobody:no-such-group"), "there is no group no-such-group");
});

test("no descriptor left: what cannot be started is tried again, nothing else suffers, and the stop is clean", async () => {
  await using rig = await createRig();
  const restart = { ...rig.service("x").restart, maxRestarts: 1000 };
  const many = Array.from({ length: 60 }, (_, index) => rig.service(`sleeper-${index}`, { argv: ["/bin/sleep", "600"], restart }));
  await using supervisor = spawnSupervisor(rig, rig.plan([rig.service("first"), ...many]), { prefix: ["prlimit", "--nofile=90:90"] });
  const first = await rig.started("first");
  const family = () => findProcesses(({ parent, state }) => parent === supervisor.pid && state !== "Z");
  while (family().length < 10) await pause(20);
  assert.ok(family().length < 60, "the limit was reached");
  process.kill(supervisor.pid, "SIGTERM");
  assert.deepEqual(await supervisor.ended, { code: 0, signal: null });
  assert.deepEqual(first.signals, ["SIGTERM"]);
  assert.deepEqual(family(), []);
});
