import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { AttemptResult } from "../../../src/engines/engine.ts";
import { failureOf, startHandler } from "./handler-process.ts";

const outputOf = (result: AttemptResult): unknown => {
  assert.ok(result.type === "done", JSON.stringify(result));
  return JSON.parse(readFileSync(result.output.answer.path, "utf8"));
};
const version = (value: string) => `import runpod, parts.inner
def handler(job):
    return ["${value}", parts.inner.VALUE]
try:
    runpod.serverless.start({"handler": handler})
finally:
    print("unwound ${value}")
`;

test("with reload the next job runs the file as it is now, and modules beside it too", { timeout: 60_000 }, async () => {
  const files = { "parts/inner.py": "VALUE = 1\n", "parts/__init__.py": "" };
  await using handler = await startHandler(version("a"), { reload: true, files });
  assert.deepEqual(outputOf(await handler.run()), ["a", 1]);
  handler.write("handler.py", version("bb"));
  assert.deepEqual(outputOf(await handler.run()), ["bb", 1]);
  assert.ok(handler.lines.includes("unwound a"));
  handler.write("parts/inner.py", "VALUE = 'changed'\n");
  assert.deepEqual(outputOf(await handler.run()), ["bb", "changed"]);
});

test("a broken file answers jobs with its place until it is mended", { timeout: 60_000 }, async () => {
  await using handler = await startHandler("def handler(job):\n    return 1\n", { reload: true });
  handler.write("handler.py", "def handler(job):\n    return (2\n");
  const broken = failureOf(await handler.run());
  assert.equal(broken.code, "handler.failed");
  assert.match(broken.message, /^Cannot load the handler: handler\.py:2: SyntaxError: '\(' was never closed\.$/);
  assert.ok(await handler.engine.isReady({ signal: AbortSignal.timeout(30_000) }));
  handler.write("handler.py", "raise ValueError('not yet')\n");
  assert.match(failureOf(await handler.run()).message, /handler\.py:1: ValueError: not yet/);
  handler.write("handler.py", "def handler(job):\n    return 3\n");
  assert.equal(outputOf(await handler.run()), 3);
  handler.kill("SIGTERM");
  assert.equal(await handler.ended, 0);
});

test("a file that is broken from the start is served as broken, and can be ended", { timeout: 60_000 }, async () => {
  await using handler = await startHandler("import nothing_of_that_name\n", { reload: true, untilReady: false });
  await handler.untilLine(/^Cannot load the handler: handler\.py:1: ModuleNotFoundError: No module named 'nothing_of_that_name'\.$/);
  assert.match(failureOf(await handler.run()).message, /No module named/);
  handler.kill("SIGTERM");
  assert.equal(await handler.ended, 0);
});

test("a change while a job runs waits for its end", { timeout: 60_000 }, async () => {
  const source = (value: number) =>
    `import os, time\ndef handler(job):\n    print("working")\n    while not os.path.exists("go"):\n        time.sleep(0.01)\n    return ${value}\n`;
  await using handler = await startHandler(source(1), { reload: true });
  const running = handler.run();
  await handler.untilLine(/working/);
  handler.write("handler.py", source(22));
  handler.write("go", "");
  assert.equal(outputOf(await running), 1);
  assert.equal(outputOf(await handler.run()), 22);
});

test("without reload a changed file changes nothing", { timeout: 60_000 }, async () => {
  await using handler = await startHandler("def handler(job):\n    return 1\n");
  handler.write("handler.py", "def handler(job):\n    return 22\n");
  assert.equal(outputOf(await handler.run()), 1);
});
