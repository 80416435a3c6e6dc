import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createRig, program } from "./rig.ts";

const canOpen = spawnSync("python3", ["-c", "import pty"]).status === 0;

test(
  "a terminal that is closed ends fettle and everything it started",
  { skip: canOpen ? false : "SKIPPED: there is no python3 to open a terminal with" },
  async () => {
    await using rig = await createRig();
    const { argv, env } = rig.service("a");
    const folders = { stateDir: join(rig.dir, "state"), logDir: join(rig.dir, "log"), runtimeDir: join(rig.dir, "run") };
    const config = join(rig.dir, "fettle.yaml");
    writeFileSync(config, JSON.stringify({ ...folders, health: { enabled: false }, services: { a: { command: argv, env } } }));
    // Opens a terminal, runs fettle on it, prints its pid; closes the terminal when it is told to, then prints how fettle ended.
    const opener = `
import os, pty, select, sys
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
print(pid, flush=True)
while 0 not in select.select([0, terminal], [], [])[0]: os.read(terminal, 65536)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
`;
    const start = program(join(import.meta.dirname, "../../src/main.ts"), "start", "--config", config);
    const child = spawn("python3", ["-c", opener, ...start], { stdio: ["pipe", "pipe", "inherit"] });
    let said = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      rig.changed();
    });
    const service = await rig.started("a");
    child.stdin.write("x");
    await rig.until("the end of fettle", () => said.split("\n")[1] || undefined);
    assert.equal(said.split("\n")[1], "0");
    await rig.until("the service's end", () => service.isGone || undefined);
    assert.deepEqual(service.signals, ["SIGTERM"]);
  },
);
