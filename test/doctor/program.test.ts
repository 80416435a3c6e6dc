import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runProgram, troubleOf } from "../../src/doctor/program.ts";
import { pause } from "../../src/util/pause.ts";
import { createWard } from "./patient.ts";

const { signal } = new AbortController();

test("how a program ended is a value: missing, no program, failed, hung, done", async () => {
  using ward = createWard();
  const env = { PATH: `${ward.dir}/bin:/usr/bin:/bin`, SEEN: "yes", UNSET: undefined };
  ward.program("tool", 'echo "out $SEEN"; echo "first\nlast" >&2; exit ${1:-0}');
  const run = (...argv: [string, ...string[]]) => runProgram(argv, { env, signal });
  assert.deepEqual(await run("tool"), { type: "ended", code: 0, stdout: "out yes\n", stderr: "first\nlast\n" });
  assert.equal(troubleOf("tool", await run("tool", "3")), "tool ended with 3: last");
  assert.equal(troubleOf("nowhere", await run("nowhere")), "there is no program nowhere");
  assert.equal((await run(ward.file("plain", "no program"))).type, "cannot-start");
});

test("a hung program is ended with its children, even when they hold its output open", async () => {
  using ward = createWard();
  ward.program("hangs", `sleep 600 & echo $! > ${ward.dir}/part && mv ${ward.dir}/part ${ward.dir}/child; wait`);
  const stop = new AbortController();
  const running = runProgram(["hangs"], { env: { PATH: `${ward.dir}/bin:/usr/bin:/bin` }, signal: stop.signal, timeoutMs: 600_000 });
  while (!existsSync(join(ward.dir, "child"))) await pause(5);
  stop.abort();
  assert.equal(troubleOf("hangs", await running), "hangs did not answer in time");
  const child = Number(readFileSync(join(ward.dir, "child"), "utf8"));
  while (isAlive(child)) await pause(5);
});

function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}

test("a program that takes too long has not answered", async () => {
  using ward = createWard();
  ward.program("slow", "exec sleep 600");
  assert.equal((await runProgram(["slow"], { env: { PATH: `${ward.dir}/bin:/usr/bin:/bin` }, signal, timeoutMs: 50 })).type, "timed-out");
});
