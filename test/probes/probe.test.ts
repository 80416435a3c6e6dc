import assert from "node:assert/strict";
import { test } from "node:test";
import { type Check, passed, refused } from "../../src/probes/check.ts";
import { waitUntilReady, watchReadiness } from "../../src/probes/probe.ts";

const pace = { periodMs: 1, timeoutMs: 1000, startupMs: 0, logEvery: 0 };

/** Answers from a list; the last one again and again. */
function scripted(...answers: readonly boolean[]): { check: Check; tries: () => number } {
  let tries = 0;
  return { tries: () => tries, check: async () => ((answers[Math.min(tries++, answers.length - 1)] ?? false) ? passed : refused(`try ${tries}`)) };
}

test("asks until the check passes and reports each so many tries", async () => {
  const { check } = scripted(false, false, false, false, false, true);
  const reports: string[] = [];
  const outcome = await waitUntilReady(
    check,
    { ...pace, logEvery: 2 },
    { signal: new AbortController().signal, onWaiting: (tries, reason) => reports.push(`${tries}: ${reason}`) },
  );
  assert.deepEqual(outcome, { type: "ready", tries: 6 });
  assert.deepEqual(reports, ["2: try 2", "4: try 4"]);
});

test("gives up when the start takes too long, with the last reason", async () => {
  const outcome = await waitUntilReady(scripted(false).check, { ...pace, startupMs: 20 }, { signal: new AbortController().signal, onWaiting: () => undefined });
  assert.ok(outcome.type === "too-late" && outcome.reason === `try ${outcome.tries}`);
});

test("a try that hangs is cut by its timeout, and the startup limit cuts it sooner", async () => {
  const hanging: Check = ({ signal }) => new Promise((resolve) => signal.addEventListener("abort", () => resolve(refused("cut")), { once: true }));
  const outcome = await waitUntilReady(
    hanging,
    { ...pace, timeoutMs: 600_000, startupMs: 20 },
    { signal: new AbortController().signal, onWaiting: () => undefined },
  );
  assert.deepEqual(outcome, { type: "too-late", tries: 1, reason: "cut" });
});

test("an abort ends it, in a pause and in a try", async () => {
  const stop = new AbortController();
  const inPause = waitUntilReady(scripted(false).check, { ...pace, periodMs: 600_000 }, { signal: stop.signal, onWaiting: () => undefined });
  const inTry = waitUntilReady(
    ({ signal }) => new Promise((resolve) => signal.addEventListener("abort", () => resolve(refused("cut")), { once: true })),
    pace,
    {
      signal: stop.signal,
      onWaiting: () => undefined,
    },
  );
  setImmediate(() => stop.abort());
  assert.deepEqual(await Promise.all([inPause, inTry]), [{ type: "aborted" }, { type: "aborted" }]);
});

test("readiness is lost after three failures in a row and comes back with one success", async () => {
  const { check } = scripted(true, false, false, true, false, false, false, false, true);
  const stop = new AbortController();
  const changes: (string | undefined)[] = [];
  await watchReadiness(
    check,
    { ...pace, watchMs: 1 },
    {
      signal: stop.signal,
      onChange(lost) {
        changes.push(lost);
        if (lost === undefined) stop.abort();
      },
    },
  );
  assert.deepEqual(changes, ["try 7", undefined]);
});
