import assert from "node:assert/strict";
import { test } from "node:test";
import type { Attempt, AttemptResult, Engine, RunOptions } from "../../src/engines/engine.ts";
import { withBatching } from "../../src/jobs/batching/batching-engine.ts";
import { createScriptedEngine, untilInterrupted } from "./scripted-engine.ts";

const far = 600_000;
const never = new AbortController().signal;
const attempt = (id: string, key: string | undefined = "same"): Attempt => ({ id, jobId: id, input: { key }, dir: "" });
const done = (batch: number): AttemptResult => ({
  type: "done",
  output: { answer: { path: "", mime: "", sizeBytes: 0, sha256: "" }, images: [], warnings: [] },
  engineMs: 1,
  batch,
});

/** An engine whose calls the test sees and answers. */
function createBatchEngine(runBatch: (attempts: readonly Attempt[], options: RunOptions) => Promise<readonly AttemptResult[] | "one-by-one">) {
  const calls: string[][] = [];
  const singles: string[] = [];
  const engine: Engine = {
    ...createScriptedEngine(),
    run: async ({ id }) => {
      singles.push(id);
      return done(1);
    },
    batchKey: ({ input }) => input["key"] as string | undefined,
    runBatch: async (attempts, options) => {
      calls.push(attempts.map(({ id }) => id));
      return await runBatch(attempts, options);
    },
  };
  return { engine, calls, singles };
}

const all = async (attempts: readonly Attempt[]) => attempts.map(() => done(attempts.length));

test("Jobs alike share a call as soon as it is full; the others go alone or with their own kind", async () => {
  const { engine, calls, singles } = createBatchEngine(all);
  const batching = withBatching(engine, { maxSize: 2, maxWaitMs: far });
  assert.equal(batching.slots, 2);
  const ids: [string, string | undefined][] = [
    ["a", "x"],
    ["b", "y"],
    ["c", "x"],
    ["alone", undefined],
    ["d", "y"],
  ];
  const results = await Promise.all(ids.map(([id, key]) => batching.run({ ...attempt(id), input: { key } }, { signal: never })));
  assert.deepEqual(calls, [
    ["a", "c"],
    ["b", "d"],
  ]);
  assert.deepEqual(singles, ["alone"]);
  assert.ok(results.every(({ type }) => type === "done"));
});

test("A job that finds no company goes alone when it has waited long enough", async () => {
  const { engine, calls, singles } = createBatchEngine(all);
  await withBatching(engine, { maxSize: 8, maxWaitMs: 5 }).run(attempt("only"), { signal: never });
  assert.deepEqual([calls, singles], [[], ["only"]]);
});

test("A batch that the engine refuses is run one by one", async () => {
  const { engine, singles } = createBatchEngine(async () => "one-by-one");
  const batching = withBatching(engine, { maxSize: 2, maxWaitMs: far });
  const results = await Promise.all(["a", "b"].map((id) => batching.run(attempt(id), { signal: never })));
  assert.deepEqual(
    [singles, results.map(({ type }) => type)],
    [
      ["a", "b"],
      ["done", "done"],
    ],
  );
});

test("A cancelled member leaves at once and the others go on; with the last one the engine is interrupted", async () => {
  const began = Promise.withResolvers<void>();
  const { engine } = createBatchEngine(async (attempts, { signal }) => {
    began.resolve();
    const end = await untilInterrupted(signal);
    return attempts.map(() => end);
  });
  const batching = withBatching(engine, { maxSize: 2, maxWaitMs: far });
  const [first, second] = [new AbortController(), new AbortController()];
  const [one, two] = [batching.run(attempt("a"), { signal: first.signal }), batching.run(attempt("b"), { signal: second.signal })];
  await began.promise;
  first.abort();
  assert.equal((await one).type, "cancelled");
  second.abort();
  assert.equal((await two).type, "cancelled");
});

test("One that is cancelled while it waits is not in the call", async () => {
  const { engine, calls } = createBatchEngine(all);
  const batching = withBatching(engine, { maxSize: 2, maxWaitMs: far });
  const cancel = new AbortController();
  const gone = batching.run(attempt("gone"), { signal: cancel.signal });
  cancel.abort();
  await Promise.all([gone, batching.run(attempt("a"), { signal: never }), batching.run(attempt("b"), { signal: never })]);
  assert.equal((await gone).type, "cancelled");
  assert.deepEqual(calls, [["a", "b"]]);
});
