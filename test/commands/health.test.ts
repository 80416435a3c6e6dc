import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { join } from "node:path";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { createRig, program, ready } from "../supervise/rig.ts";

const main = join(import.meta.dirname, "../../src/main.ts");
const env = (dir: string) => ({ ...process.env, FETTLE_RUNTIME_DIR: dir, FETTLE_CONFIG: "" });

function fettle(args: readonly string[], dir: string): Promise<{ code: number; out: string; talk: string }> {
  const [command = "", ...rest] = program(main, ...args);
  return new Promise((resolve) => {
    const child = execFile(command, rest, { env: env(dir) }, (_, out, talk) => resolve({ code: child.exitCode ?? -1, out, talk }));
  });
}

test("fettle health: 1 and the error when none runs, 1 while it starts, 0 when ready", async () => {
  await using rig = await createRig();
  const dir = join(rig.dir, "run");
  const none = await fettle(["health"], dir);
  assert.equal(none.code, 1);
  assert.match(none.talk, /Cannot reach fettle at .*control\.sock: no such file.*supervise\.no-instance/);
  const flag = join(rig.dir, "files/ready");
  const run = rig.run(rig.plan([rig.service("webui", ready({ type: "file", path: flag }))]));
  const webui = await rig.started("webui");
  const starting = await fettle(["health"], dir);
  assert.equal(starting.code, 1);
  assert.match(starting.out, /^fettle is not ready yet: profile test/);
  await webui.order({ touch: flag });
  await run.event("supervisor.ready");
  const up = await fettle(["health"], dir);
  assert.equal(up.code, 0);
  assert.match(up.out, new RegExp(`^webui {2}ready {2}pid ${webui.pid}, up `, "m"));
  const json = JSON.parse((await fettle(["health", "--json"], dir)).out) as { ready: boolean; services: { name: string }[] };
  assert.deepEqual([json.ready, json.services[0]?.name], [true, "webui"]);
});

test("fettle health --wait begins before fettle does and ends when it is ready; a time limit ends it with 1", async () => {
  await using rig = await createRig();
  const dir = join(rig.dir, "run");
  const waiting = fettle(["health", "--wait", "60s"], dir);
  const flag = join(rig.dir, "files/ready");
  const run = rig.run(rig.plan([rig.service("webui", ready({ type: "file", path: flag }))]));
  const webui = await rig.started("webui");
  const short = await fettle(["health", "--wait", "100ms"], dir);
  assert.equal(short.code, 1);
  await webui.order({ touch: flag });
  await run.event("supervisor.ready");
  assert.equal((await waiting).code, 0);
  assert.equal((await fettle(["health", "--wait", "soon"], dir)).code, 2);
});

test("fettle health --wait ends with the signal", async () => {
  await using rig = await createRig();
  const [command = "", ...rest] = program(main, "health", "--wait");
  const run = rig.run(rig.plan([rig.service("webui", ready({ type: "file", path: join(rig.dir, "never") }))]));
  await rig.started("webui");
  const child = spawn(command, rest, { env: env(join(rig.dir, "run")), stdio: "ignore" });
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  await run.event("service.spawned");
  child.kill("SIGTERM");
  assert.notEqual(await ended, 0);
});

test("fettle health --url asks the machine's health port and the job API alike", async () => {
  let able = 0;
  const server = createServer((_, response) => response.end(JSON.stringify({ jobs: { inQueue: 2 }, workers: { idle: 0, ready: able, running: 0 } })));
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const before = await fettle(["health", "--url", url, "--json"], "/none");
  assert.deepEqual([before.code, (JSON.parse(before.out) as { ready: boolean }).ready], [1, false]);
  able = 1;
  const after = await fettle(["health", "--url", `${url}/health`], "/none");
  assert.deepEqual([after.code, after.out], [0, `${url}/health is ready\njobs: inQueue 2\n`]);
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  assert.equal((await fettle(["health", "--url", url], "/none")).code, 1);
  assert.equal((await fettle(["health", "--url", "not a url"], "/none")).code, 2);
});
