import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { acquireLock } from "../../src/models/lock.ts";
import { isGone, ownMark, parseMark } from "../../src/models/process-mark.ts";

const folder = mkdtempSync(join(tmpdir(), "fettle-lock-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const { signal } = new AbortController();
const file = (name: string) => join(folder, name);

test("one holder at a time; the next comes in when it is released, and nothing is left", async () => {
  const path = file("a");
  let inside = 0;
  let most = 0;
  const waits: string[] = [];
  const enter = async () => {
    using _lock = await acquireLock(path, { signal, onWait: (holder) => waits.push(holder) });
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setImmediate(resolve));
    inside -= 1;
  };
  await Promise.all(Array.from({ length: 8 }, enter));
  assert.equal(most, 1);
  assert.equal(waits.length, 7);
  assert.match(waits[0] ?? "", new RegExp(`^process ${process.pid} on `));
  assert.deepEqual(readdirSync(folder), []);
});

test("the lock of a dead process is taken at once, by one of many", async () => {
  const path = file("b");
  const child = spawn("true");
  await new Promise((resolve) => child.on("close", resolve));
  const dead = { ...ownMark(), pid: child.pid ?? 0 };
  assert.ok(isGone(dead));
  writeFileSync(path, JSON.stringify(dead));
  // And one that took over and died, too.
  const heir = { ...ownMark(), pid: child.pid ?? 0 };
  writeFileSync(`${path}.${dead.token}`, JSON.stringify(heir));
  let inside = 0;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      using _lock = await acquireLock(path, { signal });
      assert.equal(++inside, 1);
      await new Promise((resolve) => setImmediate(resolve));
      inside -= 1;
    }),
  );
  assert.deepEqual(readdirSync(folder), []);
});

test("a reused number, a zombie's heir, another machine: dead only when that is certain", () => {
  const own = ownMark();
  assert.equal(isGone(own), false);
  assert.equal(isGone({ ...own, started: "1" }), true);
  assert.equal(isGone({ ...own, place: "another boot", pid: 1_000_000_000 }), false);
  assert.equal(parseMark("{"), undefined);
  assert.equal(parseMark('{"pid": 1}'), undefined);
});

test("a holder elsewhere counts as dead when it gives no sign; one that does keeps the lock", async () => {
  const path = file("c");
  const elsewhere = JSON.stringify({ ...ownMark(), place: "another machine", host: "gpu-7" });
  writeFileSync(path, elsewhere);
  let beats = 0;
  const waits: string[] = [];
  // It lives for five looks, then falls silent.
  const beat = setInterval(() => {
    if (++beats < 5) utimesSync(path, new Date(), new Date(Date.now() + beats * 1000));
  }, 20);
  {
    using _lock = await acquireLock(path, { signal, staleMs: 300, onWait: (holder) => waits.push(holder) });
    assert.ok(beats >= 5);
    assert.match(waits[0] ?? "", /on gpu-7$/);
    // Its file stays as the root of the chain, ours hangs below it.
    assert.equal(readFileSync(path, "utf8"), elsewhere);
    assert.equal(readdirSync(folder).length, 2);
  }
  clearInterval(beat);
  assert.deepEqual(readdirSync(folder), []);
  // A file whose maker died before it wrote a word.
  writeFileSync(path, "");
  acquireLock(path, { signal, staleMs: 100 }).then((lock) => lock[Symbol.dispose]());
  using _next = await acquireLock(path, { signal, staleMs: 100 });
});

test("waiting ends with the signal, and a folder that cannot be written is an error", async () => {
  const path = file("d");
  using _held = await acquireLock(path, { signal });
  const stop = new AbortController();
  const waiting = acquireLock(path, { signal: stop.signal, onWait: () => stop.abort(new Error("enough")) });
  await assert.rejects(waiting, /enough/);
  await assert.rejects(acquireLock("/proc/fettle/lock", { signal }));
});
