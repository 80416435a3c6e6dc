import assert from "node:assert/strict";
import { closeSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { connectControl } from "../../src/control/client.ts";
import { DirectLog } from "../../src/supervise/direct-log.ts";
import { LineSplitter } from "../../src/supervise/line-splitter.ts";
import { LogFile } from "../../src/supervise/log-file.ts";
import { readTail } from "../../src/supervise/log-tail.ts";
import { Output } from "../../src/supervise/output.ts";
import { createRig } from "./rig.ts";

const folder = () => mkdtempSync(join(tmpdir(), "fettle-output-"));

test("the last line before the exit is in the file, the event and on the console, even without a line end", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("a", { console: true, restart: { ...rig.service("x").restart, policy: "never" } }), rig.service("b")]));
  const a = await rig.started("a");
  await a.order({ print: "first" });
  await a.order({ printError: "an error" });
  await a.order({ raw: "last words" });
  await a.order({ exit: 9 });
  const { lastLines } = await run.event("service.exited", "a");
  assert.deepEqual(lastLines.toSorted(), ["an error", "first", "last words"]);
  assert.equal(lastLines.at(-1), "last words");
  assert.ok(readFileSync(join(rig.dir, "log/a.log"), "utf8").endsWith("last words"));
  assert.ok(run.lines.includes("a | last words"), run.lines.join("\n"));
});

test("a line of 1 MB comes through whole, in pieces for memory and console", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("a", { restart: { ...rig.service("x").restart, policy: "never" } }), rig.service("b")]));
  const a = await rig.started("a");
  await a.order({ bytes: 1_000_000 });
  await a.order({ print: "after" });
  await a.order({ exit: 1 });
  const { lastLines } = await run.event("service.exited", "a");
  assert.equal(readFileSync(join(rig.dir, "log/a.log"), "utf8"), `${"x".repeat(1_000_000)}\nafter\n`);
  assert.equal(lastLines.at(-1), "after");
  assert.ok(lastLines.every((line) => line.length <= 4000));
});

test("a splitter never cuts a character or a block in the wrong place", () => {
  const blocks: string[] = [];
  const splitter = new LineSplitter((block) => blocks.push(block.toString("utf8")), { maxBytes: 8 });
  for (const byte of Buffer.from("ab\nççççç\nend")) splitter.push(Buffer.from([byte]));
  splitter.flush();
  assert.equal(blocks.join(""), "ab\nççççç\nend");
  assert.deepEqual(blocks, ["ab\n", "çççç", "ç\n", "end"]);
});

test("colours stay in the file, not in memory; a progress bar leaves its last state", async () => {
  const dir = folder();
  const seen: string[] = [];
  const output = new Output({ logFile: join(dir, "a.log"), onLine: (line) => seen.push(line), onTrouble: () => undefined });
  output.push("stdout", Buffer.from("\u001b[31mred\u001b[0m\n 10%|# \r 50%|#####\r100%|##########\n"));
  await output.endChild();
  assert.ok(readFileSync(join(dir, "a.log"), "utf8").includes("\u001b[31mred"));
  assert.deepEqual(output.lastLines, ["red", "100%|##########"]);
  assert.equal(seen[1], "100%|##########");
  await output.close();
  rmSync(dir, { recursive: true });
});

test("rotation happens at line ends and loses nothing; an existing file is appended to", async () => {
  const dir = folder();
  const path = join(dir, "a.log");
  writeFileSync(path, "from before\n");
  const file = new LogFile(path, { maxBytes: 100, count: 3, onTrouble: (reason) => assert.fail(reason) });
  const line = (number: number) => `line ${String(number).padStart(5, "0")}\n`;
  for (let number = 0; number < 20; number++) {
    await file.write(Buffer.from(line(number)));
    await file.flush();
  }
  await file.close();
  const names = readdirSync(dir).toSorted();
  assert.deepEqual(names, ["a.log", "a.log.1", "a.log.2"]);
  const all = names.toReversed().map((name) => readFileSync(join(dir, name), "utf8"));
  assert.equal(all.join(""), `from before\n${Array.from({ length: 20 }, (_, number) => line(number)).join("")}`);
  assert.ok(all.every((text) => text.endsWith("\n")));
  rmSync(dir, { recursive: true });
});

test("a log that cannot be written is reported once and stops nobody", async () => {
  await using rig = await createRig();
  mkdirSync(join(rig.dir, "log"));
  mkdirSync(join(rig.dir, "log/a.log"));
  const run = rig.run(rig.plan([rig.service("a", { console: true })]));
  const a = await rig.started("a");
  await a.order({ print: "one" });
  await a.order({ print: "two" });
  await rig.until("the line on the console", () => (run.lines.includes("a | two") ? true : undefined));
  await run.stop();
  assert.equal(run.events.filter(({ type }) => type === "supervisor.warned").length, 1);
});

test("a full disk stops nobody", async (context) => {
  const troubles: string[] = [];
  const file = new LogFile("/dev/full", { onTrouble: (reason) => troubles.push(reason) });
  if (!readdirSync("/dev").includes("full")) return context.skip("there is no /dev/full");
  for (let turn = 0; turn < 5; turn++) await file.write(Buffer.from("x\n"));
  await file.flush();
  assert.deepEqual(troubles, ["no space left on the disk"]);
});

test("the tail of a file is read from its end", async () => {
  const dir = folder();
  const path = join(dir, "a.log");
  writeFileSync(path, Array.from({ length: 50_000 }, (_, number) => `line ${number}\n`).join(""));
  assert.equal((await readTail(path, 2)).toString(), "line 49998\nline 49999\n");
  assert.equal((await readTail(path, 0)).length, 0);
  assert.equal((await readTail(path, 20_000)).toString().split("\n").length, 20_001);
  assert.equal((await readTail(join(dir, "missing"), 5)).length, 0);
  writeFileSync(path, "no line end");
  assert.equal((await readTail(path, 5)).toString(), "no line end");
  rmSync(dir, { recursive: true });
});

test("a direct log: the program's own file, no pipe; its last lines and followers come from there, and it rotates between two starts", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("a", { directLog: true, restart: { ...rig.service("x").restart, policy: "never" } }), rig.service("b")]));
  const a = await rig.started("a");
  await a.order({ print: "first" });
  assert.equal(readlinkSync(`/proc/${a.pid}/fd/1`), join(rig.dir, "log/a.log"));
  const followed: Buffer[] = [];
  const end = new AbortController();
  const begun = Promise.withResolvers<void>();
  const following = (async () => {
    for await (const block of connectControl(join(rig.dir, "run/control.sock")).logs("a", { follow: true, signal: end.signal })) {
      followed.push(block);
      begun.resolve();
      if (Buffer.concat(followed).includes("second")) end.abort();
    }
  })();
  await begun.promise;
  await a.order({ printError: "second" });
  await following;
  assert.equal(Buffer.concat(followed).toString(), "first\nsecond\n");
  await a.order({ raw: "last words" });
  await a.order({ exit: 9 });
  assert.deepEqual((await run.event("service.exited", "a")).lastLines, ["first", "second", "last words"]);

  const path = join(rig.dir, "b.log");
  writeFileSync(path, "0123456789");
  const log = new DirectLog(path, { maxBytes: 10, count: 2 });
  closeSync(log.open());
  assert.deepEqual([readFileSync(`${path}.1`, "utf8"), readFileSync(path, "utf8")], ["0123456789", ""]);
});
