import assert from "node:assert/strict";
import { test } from "node:test";
import { Pool } from "../../src/jobs/pool.ts";
import { createScriptedEngine } from "./scripted-engine.ts";

const never = new AbortController().signal;

test("Only a ready engine with a free slot is given, the least loaded first", async () => {
  const pool = new Pool();
  pool.add(createScriptedEngine("small", 1));
  pool.add(createScriptedEngine("large", 4));
  assert.equal(pool.tryAcquire(), undefined);
  pool.setReady("small", true);
  pool.setReady("large", true);
  const names = [1, 2, 3, 4, 5].map(() => pool.tryAcquire()?.engine.name);
  assert.deepEqual(names, ["small", "large", "large", "large", "large"]);
  assert.equal(pool.tryAcquire(), undefined);
});

test("Waiters are served in order, and one that gave up is passed over", async () => {
  const pool = new Pool();
  pool.add(createScriptedEngine("one", 1));
  const givesUp = new AbortController();
  const order: string[] = [];
  const wait = (name: string, signal: AbortSignal) => pool.acquire({ signal }).then((slot) => (order.push(slot ? name : `${name} gave up`), slot));
  const [first, second, third] = [wait("first", never), wait("second", givesUp.signal), wait("third", never)];
  givesUp.abort();
  pool.setReady("one", true);
  const slot = await first;
  assert.equal(pool.tryAcquire(), undefined);
  slot?.release();
  slot?.release();
  await Promise.all([second, third]);
  assert.deepEqual(order.toSorted(), ["first", "second gave up", "third"]);
  assert.deepEqual(pool.counts(), { ready: 1, busy: 1, total: 1 });
});

test("An engine that is not ready any more keeps its job but gets no other", async () => {
  const pool = new Pool();
  pool.add(createScriptedEngine("one", 2));
  pool.setReady("one", true);
  const slot = pool.tryAcquire();
  pool.setReady("one", false);
  assert.equal(pool.tryAcquire(), undefined);
  const free = pool.untilFree({ signal: never });
  slot?.release();
  pool.setReady("one", true);
  await free;
});

test("Whoever asks when a job could run is not kept out by the waiting jobs of somebody else", async () => {
  const pool = new Pool();
  pool.add(createScriptedEngine("one", 1));
  pool.setReady("one", true);
  const first = pool.tryAcquire();
  const waiting = [1, 2].map(() => pool.acquire({ signal: never, by: "http" }));
  const asked = pool.untilFree({ signal: never, by: "runpod" });
  let isOwn = true;
  void pool.untilFree({ signal: never, by: "http" }).then(() => (isOwn = false));
  first?.release();
  (await waiting[0])?.release();
  await asked;
  assert.equal(isOwn, true);
  (await waiting[1])?.release();
});

test("Equals take turns, and a larger engine gets as much more as it can take", () => {
  const pool = new Pool();
  for (const name of ["a", "b"]) pool.add(createScriptedEngine(name, 1));
  for (const name of ["a", "b"]) pool.setReady(name, true);
  const turns = [1, 2, 3, 4].map(() => {
    const slot = pool.tryAcquire();
    slot?.release();
    return slot?.engine.name;
  });
  assert.deepEqual(turns, ["a", "b", "a", "b"]);

  const unequal = new Pool();
  unequal.add(createScriptedEngine("one", 2));
  unequal.add(createScriptedEngine("four", 8));
  for (const name of ["one", "four"]) unequal.setReady(name, true);
  const given = [1, 2, 3, 4, 5].map(() => unequal.tryAcquire()?.engine.name);
  assert.deepEqual(given.toSorted(), ["four", "four", "four", "four", "one"]);
});
