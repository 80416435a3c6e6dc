import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { AttemptResult } from "../../../src/engines/engine.ts";
import { createFacts } from "../../doubles/facts.ts";
import { failureOf, sdkPython, startHandler } from "./handler-process.ts";

const outputOf = (result: AttemptResult): unknown => {
  assert.ok(result.type === "done", JSON.stringify(result));
  return JSON.parse(readFileSync(result.output.answer.path, "utf8"));
};

const kinds = {
  "a generator": "def handler(job):\n    for value in steps(job):\n        yield value\n",
  "an async generator": "async def handler(job):\n    for value in steps(job):\n        yield value\n",
};
const steps = `
def steps(job):
    kind = job["input"].get("kind")
    yield {"i": 0}
    if kind == "raise":
        raise ValueError("too much")
    if kind == "error":
        yield {"error": 7, "also": 1}
    if kind == "set":
        yield {1}
    if kind == "refresh":
        yield {"refresh_worker": True}
    yield "end"
`;

for (const [name, source] of Object.entries(kinds)) {
  test(`${name} streams, and its ends are RunPod's`, { timeout: 120_000 }, async () => {
    await using handler = await startHandler(`import runpod\n${steps}\n${source}\nrunpod.serverless.start({"handler": handler})`);
    const run = async (kind: string) => {
      const pieces: unknown[] = [];
      const result = await handler.run({ kind }, { onPartial: async (value) => void pieces.push(value) });
      return { pieces, result };
    };
    const plain = await run("");
    assert.deepEqual([plain.pieces, outputOf(plain.result)], [[{ i: 0 }, "end"], []]);
    const refresh = await run("refresh");
    assert.ok(refresh.result.type === "done" && !refresh.result.output.wantsRefresh && refresh.pieces.length === 3);
    const raised = await run("raise");
    assert.match(failureOf(raised.result).text ?? "", /^handler: too much \ntraceback: Traceback \(most recent call last\):\n {2}File ".*handler\.py"/);
    assert.deepEqual(raised.pieces, [{ i: 0 }]);
    const error = await run("error");
    assert.deepEqual([error.pieces, failureOf(error.result).text], [[{ i: 0 }], "7"]);
    assert.match(failureOf((await run("set")).result).message, /yield\[1\] is a set/);
  });
}

test("the pieces are the output too when return_aggregate_stream says so", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(
    `import runpod\ndef handler(job):\n    yield 1\n    yield {"b": 2}\nrunpod.serverless.start({"handler": handler, "return_aggregate_stream": True, "refresh_worker": True})`,
  );
  const result = await handler.run();
  assert.deepEqual(outputOf(result), [1, { b: 2 }]);
  assert.ok(result.type === "done" && result.output.wantsRefresh);
});

test("a generator goes no faster than its reader, and a slow reader holds up nothing else", { timeout: 120_000 }, async () => {
  await using handler = await startHandler(
    `import runpod\nmade = 0\ndef handler(job):\n    global made\n    for made in range(1, 2001):\n        yield "x" * 100_000\nrunpod.serverless.start({"handler": handler})`,
  );
  let pieces = 0;
  const gate = Promise.withResolvers<void>();
  const first = Promise.withResolvers<void>();
  const cancel = new AbortController();
  const running = handler.run(
    {},
    {
      signal: cancel.signal,
      onPartial: async () => {
        pieces += 1;
        first.resolve();
        await gate.promise;
      },
    },
  );
  await first.promise;
  // 200 MB would have been made; what the sockets hold is far less.
  assert.ok(await handler.engine.isReady({ signal: AbortSignal.timeout(30_000) }));
  cancel.abort();
  gate.resolve();
  assert.deepEqual(await running, { type: "cancelled" });
  assert.ok(pieces < 500, `${pieces}`);
});

test("progress comes while the job runs, in order, and never after it", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`
import runpod, threading
last = []
def handler(job):
    runpod.serverless.progress_update(job, "Update 1/4")
    runpod.serverless.progress_update(job, {"progress": 50, "text": "ü"})
    runpod.serverless.progress_update(job, {1, 2})
    runpod.serverless.progress_update({"id": "another"}, 1)
    late = threading.Timer(0.2, runpod.serverless.progress_update, (job, "late"))
    late.start()
    return "done"
runpod.serverless.start({"handler": handler})
`);
  const seen: unknown[] = [];
  await handler.run({}, { onProgress: ({ fraction, note }) => void seen.push([fraction, note]) });
  assert.deepEqual(seen, [
    [0.25, "Update 1/4"],
    [0.5, { progress: 50, text: "ü" }],
  ]);
  await handler.untilLine(/progress_update: progress is a set; return a list/);
  await handler.untilLine(/progress_update: there is no job another here/);
  await handler.untilLine(/progress_update: there is no job job-1 here/);
  assert.equal(seen.length, 2);
});

test("async jobs run side by side up to what concurrency_modifier says, and it is asked again", { timeout: 120_000 }, async () => {
  await using handler = await startHandler(`
import asyncio, runpod
running = most = 0
wanted = [1, 3, None, "many", 0, 3]
def modifier(current):
    return wanted.pop(0) if wanted else 3
gate = None
async def handler(job):
    global running, most, gate
    gate = gate or asyncio.Event()
    running += 1
    most = max(most, running)
    if running == job["input"]["wait"]:
        gate.set()
    await gate.wait()
    running -= 1
    return most
runpod.serverless.start({"handler": handler, "concurrency_modifier": modifier})
`);
  const facts = createFacts();
  handler.engine.watchSlots?.(facts.changed);
  const jobs = [1, 2, 3].map(() => handler.run({ wait: 3 }));
  await facts.until("three slots", () => (handler.engine.slots === 3 ? true : undefined), { signal: AbortSignal.timeout(30_000) });
  assert.deepEqual((await Promise.all(jobs)).map(outputOf), [3, 3, 3]);
  await handler.untilLine(/concurrency_modifier cannot be used \(it returned None\); 3 jobs at once it stays/);
});

test("a sync handler keeps one thread, the main one; with slots each job has its own", { timeout: 120_000 }, async () => {
  const source = `
import threading, runpod
together = threading.Barrier(2)
def handler(job):
    if job["input"].get("meet"):
        together.wait(30)
    return threading.current_thread() is threading.main_thread()
runpod.serverless.start({"handler": handler})
`;
  await using one = await startHandler(source);
  assert.deepEqual((await Promise.all([one.run(), one.run(), one.run()])).map(outputOf), [true, true, true]);
  await using two = await startHandler(source, { slots: 2 });
  assert.deepEqual((await Promise.all([two.run({ meet: true }), two.run({ meet: true })])).map(outputOf), [false, false]);
});

test("whatever can be awaited is awaited, and a sync handler may use asyncio.run", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`
import asyncio
async def work(job):
    await asyncio.sleep(0)
    return job["input"]["n"] + 1
def handler(job):
    return work(job) if job["input"]["n"] else asyncio.run(work(job))
`);
  assert.deepEqual([outputOf(await handler.run({ n: 0 })), outputOf(await handler.run({ n: 5 }))], [1, 6]);
});

test(
  "with the SDK installed its own functions stay, but for start and progress_update, however they are imported",
  { timeout: 60_000, skip: sdkPython ? false : "FETTLE_TEST_PYTHON names no Python with RunPod's SDK" },
  async () => {
    await using handler = await startHandler(
      `
import runpod
from runpod.serverless import start, progress_update
from runpod.serverless.utils.rp_validator import validate
def handler(job):
    progress_update(job, {"pct": 10})
    runpod.serverless.progress_update(job, "2/4")
    runpod.RunPodLogger().info("by its logger", job["id"])
    return ["site-packages" in runpod.__file__, validate({}, {"a": {"type": int, "required": True}})]
if __name__ == "__main__":
    start({"handler": handler})
`,
      { python: sdkPython },
    );
    const seen: unknown[] = [];
    const result = await handler.run({}, { onProgress: ({ fraction, note }) => void seen.push([fraction, note]) });
    assert.deepEqual(outputOf(result), [true, { errors: ["a is a required input."] }]);
    assert.deepEqual(seen, [
      [0.1, { pct: 10 }],
      [0.5, "2/4"],
    ]);
    await handler.untilLine(/^\[job-1\] INFO {3}\| job-1 \| by its logger$/);
  },
);
