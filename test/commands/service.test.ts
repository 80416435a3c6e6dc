import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { createRig, program } from "../supervise/rig.ts";

const main = join(import.meta.dirname, "../../src/main.ts");

test("fettle service lists, reads logs, restarts and stops", async () => {
  await using rig = await createRig();
  const dir = join(rig.dir, "run");
  const fettle = (...args: string[]): Promise<{ code: number; out: string; talk: string }> => {
    const [command = "", ...rest] = program(main, "service", ...args, "--runtime-dir", dir);
    return new Promise((resolve) => {
      const child = execFile(command, rest, (_, out, talk) => resolve({ code: child.exitCode ?? -1, out, talk }));
    });
  };
  const run = rig.run(rig.plan([rig.service("webui"), rig.service("prepare", { role: "task", argv: ["/bin/sh", "-c", "printf 'one\\ntwo\\nthree'"] })]));
  const webui = await rig.started("webui");
  await run.event("supervisor.ready");
  assert.match((await fettle("list")).out, new RegExp(`^webui {4}ready {2}pid ${webui.pid}, up .*\nprepare {2}done\n$`));
  const list = JSON.parse((await fettle("list", "--json")).out) as { services: { name: string; state: string }[] };
  assert.deepEqual(
    list.services.map(({ name, state }) => `${name} ${state}`),
    ["webui ready", "prepare exited"],
  );

  assert.equal((await fettle("logs", "prepare", "--lines", "2")).out, "two\nthree");
  assert.deepEqual(JSON.parse((await fettle("logs", "prepare", "--json")).out), { service: "prepare", lines: ["one", "two", "three"] });

  const [command = "", ...rest] = program(main, "service", "logs", "webui", "--follow", "--runtime-dir", dir);
  const follower = spawn(command, rest, { stdio: ["ignore", "pipe", "ignore"] });
  const ended = new Promise((resolve) => follower.once("exit", resolve));
  const line = new Promise<string>((resolve) => follower.stdout.once("data", (chunk: Buffer) => resolve(chunk.toString())));
  await webui.order({ print: "Launching Web UI" });
  assert.equal(await line, "Launching Web UI\n");
  follower.kill("SIGINT");
  await ended;

  // A reader that leaves (`| head -1`) must not leave the follower behind.
  const unread = spawn(command, rest, { stdio: ["ignore", "pipe", "ignore"] });
  const left = new Promise((resolve) => unread.once("exit", resolve));
  await new Promise((resolve) => unread.stdout.once("data", resolve));
  unread.stdout.destroy();
  await webui.order({ print: "Loading weights" });
  await webui.order({ print: "Model loaded" });
  await left;

  assert.equal((await fettle("restart", "webui")).code, 0);
  await rig.started("webui", 2);
  const stopped = JSON.parse((await fettle("stop", "webui", "--json")).out) as { state: string };
  assert.equal(stopped.state, "exited");

  const unknown = await fettle("restart", "webuo");
  assert.equal(unknown.code, 2);
  assert.match(unknown.talk, /Did you mean "webui"\?/);
  assert.equal((await fettle("restrat", "webui")).code, 2);
  assert.equal((await fettle("stop")).code, 2);
  assert.equal((await fettle("list", "webui")).code, 2);
  await run.stop();
  assert.equal((await fettle("list")).code, 1);
});
