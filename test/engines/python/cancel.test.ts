import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { failureOf, startHandler } from "./handler-process.ts";

const start = 'runpod.serverless.start({"handler": handler})';
const handlers: Record<string, string> = {
  "a sync handler in a sleep": `import runpod, time\ndef handler(job):\n    try:\n        print("working")\n        time.sleep(600)\n    finally:\n        print("cleaned")\n${start}`,
  "a sync handler in a loop": `import runpod\ndef handler(job):\n    try:\n        print("working")\n        while True:\n            pass\n    finally:\n        print("cleaned")\n${start}`,
  "a sync handler that catches every Exception": `import runpod, time\ndef handler(job):\n    while True:\n        try:\n            print("working")\n            time.sleep(600)\n        except Exception:\n            pass\n        finally:\n            print("cleaned")\n${start}`,
  "an async handler": `import asyncio, runpod\nasync def handler(job):\n    try:\n        print("working")\n        await asyncio.sleep(600)\n    finally:\n        print("cleaned")\n${start}`,
  "an async handler that blocks the loop": `import runpod, time\nasync def handler(job):\n    try:\n        print("working")\n        time.sleep(600)\n    finally:\n        print("cleaned")\n${start}`,
  "a generator": `import runpod, time\ndef handler(job):\n    try:\n        print("working")\n        while True:\n            yield 1\n            time.sleep(0.01)\n    finally:\n        print("cleaned")\n${start}`,
};

for (const [name, source] of Object.entries(handlers)) {
  test(`a cancel ends ${name}, whose finally runs, and the process takes the next job`, { timeout: 60_000 }, async () => {
    await using handler = await startHandler(source);
    for (const round of [1, 2]) {
      const cancel = new AbortController();
      const running = handler.run({}, { signal: cancel.signal, jobId: `round-${round}` });
      await handler.untilLine(new RegExp(`^\\[round-${round}\\] working`));
      assert.ok(await handler.engine.isReady({ signal: AbortSignal.timeout(10_000) }));
      cancel.abort();
      assert.deepEqual(await running, { type: "cancelled" });
      await handler.untilLine(new RegExp(`^\\[round-${round}\\] cleaned`));
    }
  });
}

test("with slots a cancel ends one job and no other", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(
    `import runpod, time, os\ndef handler(job):\n    print("working")\n    while not os.path.exists(job["input"]["until"]):\n        time.sleep(0.01)\n    return "ended"\n${start}`,
    { slots: 2 },
  );
  const cancel = new AbortController();
  const first = handler.run({ until: "never" }, { signal: cancel.signal });
  const second = handler.run({ until: `${handler.dir}/now` });
  await handler.untilLine(/^\[job-1\] working/);
  await handler.untilLine(/^\[job-2\] working/);
  cancel.abort();
  assert.deepEqual(await first, { type: "cancelled" });
  handler.write("now", "");
  const result = await second;
  assert.ok(result.type === "done");
  assert.equal(readFileSync(result.output.answer.path, "utf8"), '"ended"');
});

test("a job that waits for its turn is cancelled without having run", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`import runpod, time\ndef handler(job):\n    print("working")\n    time.sleep(600)\n${start}`);
  const first = new AbortController();
  const second = new AbortController();
  const running = handler.run({}, { signal: first.signal });
  await handler.untilLine(/^\[job-1\] working/);
  const waiting = handler.run({}, { signal: second.signal });
  second.abort();
  assert.deepEqual(await waiting, { type: "cancelled" });
  first.abort();
  assert.deepEqual(await running, { type: "cancelled" });
  assert.ok(!handler.lines.some((line) => line.startsWith("[job-2]")));
});

test("a handler that does not react is reported, to be restarted", { timeout: 60_000 }, async () => {
  const stubborn = `import runpod, time
def deaf():
    while True:
        try:
            print("working")
            time.sleep(600)
        except BaseException:
            pass
def handler(job):
    while True:
        try:
            deaf()
        except BaseException:
            pass
${start}`;
  await using handler = await startHandler(stubborn, { connect: { letGoMs: 1500, timeoutMs: 60_000 } });
  const cancel = new AbortController();
  const running = handler.run({}, { signal: cancel.signal });
  await handler.untilLine(/working/);
  cancel.abort();
  assert.deepEqual(await running, { type: "cancelled", remedy: "restart" });
});

test("a job over its time is interrupted", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`import runpod, time\ndef handler(job):\n    time.sleep(600)\n${start}`, { connect: { timeoutMs: 200 } });
  const result = failureOf(await handler.run());
  assert.deepEqual([result.code, result.remedy, result.retryable], ["engine.timeout", undefined, false]);
});

test("what a former life of the worker left behind is ended by settle", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`import runpod, time\ndef handler(job):\n    print("working")\n    time.sleep(600)\n${start}`);
  const left = handler.run();
  await handler.untilLine(/working/);
  await handler.engine.settle({ signal: AbortSignal.timeout(30_000) });
  // Not cancelled by its own signal: it may run again.
  const result = failureOf(await left);
  assert.deepEqual([result.code, result.retryable], ["engine.lost", true]);
});
