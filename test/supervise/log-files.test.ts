/** One log file with several writers, and log files that somebody moves away. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { LogFile } from "../../src/supervise/log-file.ts";
import { LogFiles } from "../../src/supervise/log-files.ts";
import { createRig, type Rig } from "./rig.ts";
import { spawnSupervisor } from "./spawned.ts";

const onTrouble = (reason: string) => assert.fail(reason);
const once = (rig: Rig) => ({ ...rig.service("x").restart, policy: "never" as const });
/** A real program that writes so many numbered lines, every tenth longer than a pipe holds. */
const writer = (name: string, lines: number) => [
  "python3",
  "-c",
  `import os\nfor n in range(${lines}):\n  line = b'${name} %06d ' % n + b'x' * (200000 if n % 100 == 99 else 300) + b' ${name}\\n'\n  while line: line = line[os.write(1, line):]`,
];

test("two services in one log: every line of both is there, whole and in its order, through rotations", async () => {
  await using rig = await createRig();
  const logFile = join(rig.dir, "log/both.log");
  const lines = 8000;
  const services = ["a", "b"].map((name) => rig.service(name, { argv: writer(name, lines), logFile, restart: once(rig), role: "task" }));
  const run = rig.run(rig.plan(services));
  assert.equal(await run.exitCode, 0);
  const names = readdirSync(join(rig.dir, "log")).toSorted();
  assert.ok(names.length > 2, `rotated: ${names.join(", ")}`);
  const seen = new Map<string, number>([
    ["a", 0],
    ["b", 0],
  ]);
  for (const name of names.toReversed()) {
    const text = readFileSync(join(rig.dir, "log", name), "latin1");
    assert.ok(text.endsWith("\n"));
    for (const line of text.slice(0, -1).split("\n")) {
      const [, who = "", number, , last] = /^([ab]) (\d{6}) (x+) ([ab])$/.exec(line) ?? assert.fail(`torn: ${line.slice(0, 60)}`);
      assert.equal(last, who);
      assert.equal(Number(number), seen.get(who));
      seen.set(who, Number(number) + 1);
    }
  }
  assert.deepEqual(Object.fromEntries(seen), { a: lines, b: lines });
});

test("a line without an end is one line in a shared log; who falls silent in mid-line does not hold the others up for ever", async () => {
  const dir = mkdtempSync(join(tmpdir(), "fettle-logs-"));
  const files = new LogFiles();
  const path = join(dir, "both.log");
  const [a, b] = [files.use(path, { onTrouble }), files.use(path, { onTrouble })];
  assert.equal(a, b);
  const [one, two] = [{}, {}];
  a.write(Buffer.from("one begins, "), one);
  b.write(Buffer.from("two\n"), two);
  a.write(Buffer.from("one ends\n"), one);
  a.write(Buffer.from("no end"), one);
  a.endLine(one);
  b.write(Buffer.from("two again\n"), two);
  a.write(Buffer.from("silent "), one);
  b.write(Buffer.from("two waits\n"), two);
  await files.release(b);
  assert.equal(readFileSync(path, "utf8"), "one begins, one ends\ntwo\nno end\ntwo again\nsilent \ntwo waits\n");
  await files.release(a);
  rmSync(dir, { recursive: true });
});

test("SIGUSR1: files that were moved away go on in new ones, no line lost, and a direct log is named", async () => {
  await using rig = await createRig();
  const services = [rig.service("a"), rig.service("quiet"), rig.service("direct", { directLog: true })];
  await using supervisor = spawnSupervisor(rig, rig.plan(services));
  const [a, quiet] = [await rig.started("a"), await rig.started("quiet"), await rig.started("direct")];
  const path = join(rig.dir, "log/a.log");
  const { connectControl } = await import("../../src/control/client.ts");
  const control = connectControl(join(rig.dir, "run/control.sock"));
  const lines = async () => {
    const blocks: Buffer[] = [];
    for await (const block of control.logs("a", {})) blocks.push(block);
    return Buffer.concat(blocks).toString().split("\n").filter(Boolean);
  };
  await quiet.order({ print: "quiet" });
  await a.order({ print: "one" });
  assert.deepEqual(await lines(), ["one"]);
  renameSync(path, `${path}.old`);
  await a.order({ print: "two" });
  const opened = (async () => {
    for await (const event of control.events(0)) if (event.type === "supervisor.logs-reopened") return event;
    return undefined;
  })();
  process.kill(supervisor.pid, "SIGUSR1");
  assert.deepEqual((await opened)?.direct, ["direct"]);
  // The new file is there before anything is written: whoever moved the old one may look for it.
  assert.ok(readdirSync(join(rig.dir, "log")).includes("a.log"));
  await a.order({ print: "three" });
  assert.deepEqual((await lines()).at(-1), "three");
  assert.deepEqual(`${readFileSync(`${path}.old`, "utf8")}${readFileSync(path, "utf8")}`, "one\ntwo\nthree\n");
  assert.ok(!readFileSync(`${path}.old`, "utf8").includes("three"));
  process.kill(supervisor.pid, "SIGTERM");
  assert.deepEqual(await supervisor.ended, { code: 0, signal: null });
});

test("moved away again and again under load: no line is lost or cut", async () => {
  await using rig = await createRig();
  const path = join(rig.dir, "log/a.log");
  const lines = 3000;
  const run = rig.run(rig.plan([rig.service("keeper"), rig.service("a", { argv: writer("a", lines), restart: once(rig), role: "task" })]));
  let moves = 0;
  // Until the supervisor listens, the signal would end this process.
  const ignore = () => undefined;
  process.on("SIGUSR1", ignore);
  while (!run.events.some((event) => event.type === "service.exited" && event.service === "a")) {
    try {
      renameSync(path, `${path}.moved-${String(moves).padStart(4, "0")}`);
      moves++;
    } catch {
      // It has written nothing yet.
    }
    process.kill(process.pid, "SIGUSR1");
    await new Promise((resolve) => setImmediate(resolve));
  }
  await run.stop();
  process.off("SIGUSR1", ignore);
  const names = readdirSync(join(rig.dir, "log")).filter((name) => name.startsWith("a.log"));
  const parts = names.map((name) => readFileSync(join(rig.dir, "log", name), "latin1"));
  assert.ok(parts.every((text) => text === "" || text.endsWith("\n")));
  const numbers = parts
    .flatMap((text) => text.split("\n").filter(Boolean))
    .map((line) => Number(/^a (\d{6}) x+ a$/.exec(line)?.[1] ?? assert.fail(line.slice(0, 50))));
  assert.deepEqual(
    numbers.toSorted((x, y) => x - y),
    Array.from({ length: lines }, (_, number) => number),
  );
  assert.ok(moves > 2, `${moves} moves`);
});

test("copytruncate: an emptied log goes on at its beginning and is not rotated too soon", async () => {
  const dir = mkdtempSync(join(tmpdir(), "fettle-logs-"));
  const path = join(dir, "a.log");
  const file = new LogFile(path, { maxBytes: 40, count: 3, onTrouble });
  file.write(Buffer.from("0123456789 0123456789 0123456789 01234567\n"));
  await file.flush();
  truncateSync(path);
  file.write(Buffer.from("short\n"));
  await file.close();
  assert.deepEqual([readdirSync(dir), readFileSync(path, "utf8")], [["a.log"], "short\n"]);
  rmSync(dir, { recursive: true });
});

test("a link's target is rotated, what is no file never is; a FIFO that nobody reads stops nothing", async () => {
  const dir = mkdtempSync(join(tmpdir(), "fettle-logs-"));
  mkdirSync(join(dir, "volume"));
  symlinkSync(join(dir, "volume/real.log"), join(dir, "link.log"));
  writeFileSync(join(dir, "volume/real.log"), "from before, long enough\n");
  const link = new LogFile(join(dir, "link.log"), { maxBytes: 10, count: 2, onTrouble });
  for (const text of ["one\n", "two\n"]) {
    link.write(Buffer.from(text));
    await link.flush();
  }
  await link.close();
  assert.deepEqual(readdirSync(join(dir, "volume")).toSorted(), ["real.log", "real.log.1"]);
  assert.equal(readFileSync(join(dir, "link.log"), "utf8"), "two\n");
  const fifo = join(dir, "fifo");
  execFileSync("mkfifo", [fifo]);
  const troubles: string[] = [];
  const unread = new LogFile(fifo, { onTrouble: (reason) => troubles.push(reason) });
  unread.write(Buffer.from("nobody reads\n"));
  await unread.close();
  assert.equal(troubles.length, 1);
  const reader = openSync(fifo, "r+");
  const read = new LogFile(fifo, { maxBytes: 1, onTrouble });
  for (let turn = 0; turn < 3; turn++) {
    read.write(Buffer.from("line\n"));
    await read.flush();
  }
  await read.close();
  assert.deepEqual(readdirSync(dir).toSorted(), ["fifo", "link.log", "volume"]);
  assert.ok(reader > 0);
  rmSync(dir, { recursive: true });
});

test("known secrets reach neither the log file nor memory, console or followers", async () => {
  await using rig = await createRig();
  const argv = ["/bin/sh", "-c", "echo key hunter2-hunter2 and hunter2-hunter2!; echo plain; exit 3"];
  const run = rig.run(rig.plan([rig.service("a", { argv, console: true, restart: once(rig) }), rig.service("b")]), { secrets: ["hunter2-hunter2", "abc"] });
  const { lastLines } = await run.event("service.exited", "a");
  assert.deepEqual(lastLines, ["key *** and ***!", "plain"]);
  assert.equal(readFileSync(join(rig.dir, "log/a.log"), "utf8"), "key *** and ***!\nplain\n");
  assert.ok(run.lines.includes("a | key *** and ***!"));
});
