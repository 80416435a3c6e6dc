import assert from "node:assert/strict";
import { test } from "node:test";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { runProgram } from "../../src/install/run-program.ts";
import { runSteps, type Step } from "../../src/install/step.ts";
import { createDeferred } from "../../src/util/deferred.ts";

const never = new AbortController().signal;
const step = (title: string, run: Step["run"], isDone = false): Step => ({ title, isDone: async () => isDone, run });

test("a group runs its steps beside each other, up to its limit; the next group waits", async () => {
  const bothRun = createDeferred();
  let running = 0;
  let most = 0;
  const wait = async () => {
    most = Math.max(most, ++running);
    if (running === 2) bothRun.resolve();
    await bothRun.promise;
    running--;
  };
  const later = step("later", async () => assert.equal(running, 0));
  const reports = await runSteps(
    [
      { limit: 2, steps: [step("a", wait), step("b", wait), step("c", wait)] },
      { limit: 1, steps: [later] },
    ],
    { signal: never },
  );
  assert.equal(most, 2);
  assert.deepEqual(reports.map(({ title }) => title).toSorted(), ["a", "b", "c", "later"]);
});

test("a failure cuts the others short and is thrown; later steps do not begin", async () => {
  const started = createDeferred();
  const cut = createDeferred();
  const slow = step("slow", ({ signal }) => {
    signal.addEventListener("abort", () => cut.resolve());
    started.resolve();
    return cut.promise;
  });
  const failing = step("failing", async () => {
    await started.promise;
    throw new FettleError("install.failed", "Cannot do it: no.");
  });
  const after = step("after", async () => assert.fail("must not run"));
  await assert.rejects(runSteps([{ limit: 2, steps: [slow, failing, after] }], { signal: never }), /Cannot do it/);
  await cut.promise;
});

test("an interrupted program is ended and says so", async () => {
  const stop = new AbortController();
  const lines: string[] = [];
  const run = runProgram(["sh", "-c", "echo begun; exec sleep 600"], {
    title: "wait",
    env: process.env,
    signal: stop.signal,
    onLine: (line) => {
      lines.push(line);
      stop.abort();
    },
  });
  await assert.rejects(run, (error) => error instanceof FettleError && error.message === "Cannot wait: it was interrupted.");
  assert.deepEqual(lines, ["begun"]);
});
