import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { JobDeadline, StallWatch } from "../../src/jobs/time-limits.ts";

const far = 600_000;

test("A model may load for longer than a step may take, until the first step", async () => {
  const loading = new StallWatch({ stallMs: 1, loadingMs: far, tellsProgress: true });
  loading.saw({ fraction: 0.01 });
  const slow = new StallWatch({ stallMs: 1, loadingMs: 60, tellsProgress: true });
  await once(slow.signal, "abort");
  assert.equal(loading.signal.aborted, false);
  loading.saw({ fraction: 0.5, step: 1, steps: 2 });
  await once(loading.signal, "abort");
  assert.equal(loading.limitMs, 1);
});

test("The same progress told again is silence, another sign is life", async () => {
  const watch = new StallWatch({ stallMs: 40, loadingMs: 40, tellsProgress: true });
  const repeats = setInterval(() => watch.saw({ fraction: 0.5, step: 1 }), 2);
  await once(watch.signal, "abort");
  clearInterval(repeats);
  const alive = new StallWatch({ stallMs: 200, loadingMs: 200, tellsProgress: true });
  const bytes = setInterval(() => alive.touch(), 2);
  const other = new StallWatch({ stallMs: 300, loadingMs: 300, tellsProgress: true });
  await once(other.signal, "abort");
  assert.equal(alive.signal.aborted, false);
  clearInterval(bytes);
  alive.end();
});

test("An engine that never tells progress is not watched, and 0 turns the watch off", async () => {
  const quiet = new StallWatch({ stallMs: 1, loadingMs: 1, tellsProgress: false });
  const off = new StallWatch({ stallMs: 0, loadingMs: 1, tellsProgress: true });
  const clock = new StallWatch({ stallMs: 30, loadingMs: 30, tellsProgress: true });
  await once(clock.signal, "abort");
  assert.deepEqual([quiet.signal.aborted, off.signal.aborted], [false, false]);
  quiet.touch();
  await once(quiet.signal, "abort");
});

test("A deadline begins when it is told to, and 0 is none", async () => {
  const none = new JobDeadline(0);
  none.begin();
  const soon = new JobDeadline(1);
  const unbegun = new JobDeadline(1);
  soon.begin();
  await once(soon.signal, "abort");
  assert.deepEqual([none.signal.aborted, unbegun.signal.aborted], [false, false]);
});
