import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { failureOf, startHandler } from "./handler-process.ts";

const start = 'runpod.serverless.start({"handler": handler})';
const signal = () => AbortSignal.timeout(30_000);

test("kill -9 in the middle of a job is a lost engine, even while a process that the handler forked lives on", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`
import os, runpod, time
def handler(job):
    child = os.fork()
    if child == 0:
        os.setsid()
        time.sleep(600)
        os._exit(0)
    print("forked", child)
    time.sleep(600)
${start}`);
  const running = handler.run();
  const forked = Number(/forked (\d+)/.exec(await handler.untilLine(/forked \d+/))?.[1]);
  try {
    process.kill(handler.pid, "SIGKILL");
    const result = failureOf(await running);
    assert.deepEqual([result.code, result.retryable], ["engine.lost", true]);
  } finally {
    process.kill(forked, "SIGKILL");
  }
});

test("a job whose pieces are out is not run again when its process dies", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`import os, runpod\ndef handler(job):\n    yield 1\n    os._exit(9)\n${start}`);
  const result = failureOf(await handler.run({}, { onPartial: async () => {} }));
  assert.deepEqual([result.code, result.retryable], ["engine.lost", false]);
  assert.equal(await handler.ended, 9);
});

test("a fork that comes out of the handler ends by itself, and the parent's result counts", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`
import os, runpod
def handler(job):
    child = os.fork()
    if child == 0:
        return "from the child"
    _, status = os.waitpid(child, 0)
    return ["from the parent", status]
${start}`);
  for (let round = 0; round < 3; round++) {
    const result = await handler.run();
    assert.ok(result.type === "done", JSON.stringify(result));
    assert.equal(readFileSync(result.output.answer.path, "utf8"), '["from the parent", 0]');
  }
});

test("multiprocessing works, forked and spawned, without the SDK being installed", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`
import multiprocessing, runpod
def double(value):
    return value * 2
def handler(job):
    with multiprocessing.get_context(job["input"]["how"]).Pool(2) as pool:
        return pool.map(double, [1, 2, 3])
if __name__ == "__main__":
    ${start}`);
  for (const how of ["fork", "spawn"]) {
    const result = await handler.run({ how });
    assert.ok(result.type === "done", JSON.stringify(result));
    assert.equal(readFileSync(result.output.answer.path, "utf8"), "[2, 4, 6]");
  }
});

test("a result of 15 MB arrives whole", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`import runpod\ndef handler(job):\n    return {"image": "A" * job["input"]["size"], "end": "ü"}\n${start}`);
  for (const size of [15_000_000, 65_535, 65_536]) {
    const result = await handler.run({ size });
    assert.ok(result.type === "done");
    const text = `{"image": "${"A".repeat(size)}", "end": "ü"}`;
    assert.equal(result.output.answer.sha256, createHash("sha256").update(text).digest("hex"));
    assert.equal(readFileSync(result.output.answer.path, "utf8").length, text.length);
  }
});

test("what a handler prints names its job and never reaches the answer", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`
import asyncio, os, runpod, subprocess, sys
async def handler(job):
    mark = job["input"]["mark"]
    print(mark, "part one", end=" ")
    await asyncio.sleep(0)
    print("part two")
    print("x" * 100_000 + mark)
    print('{"type": "result", "sizeBytes": 0}')
    sys.stderr.write("no line end " + mark)
    os.write(1, b"raw bytes\\n")
    subprocess.run(["echo", "from a child of mine"], stdout=sys.stdout, check=True)
    sys.stdout.buffer.write(b"to the buffer\\n")
    return mark
runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: 2})`);
  const [one, two] = await Promise.all([handler.run({ mark: "A" }), handler.run({ mark: "B" })]);
  assert.deepEqual([one?.type, two?.type], ["done", "done"]);
  await handler.untilLine(/^\[job-1\] A part one part two$/);
  await handler.untilLine(/^\[job-2\] B part one part two$/);
  await handler.untilLine(/^\[job-1\] x{100000}A$/);
  await handler.untilLine(/^\[job-2\] no line end B$/);
  await handler.untilLine(/^from a child of mine$/);
  await handler.untilLine(/^to the buffer$/);
  await handler.untilLine(/^\{"type": "result", "sizeBytes": 0\}$/);
});

test("a handler that breaks its streams has them back at the next job", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`
import runpod, sys
def handler(job):
    how = job["input"]["how"]
    print("before", how)
    if how == "delete":
        del sys.stdout
    elif how == "close":
        sys.stdout.close()
        sys.stderr.close()
    elif how == "none":
        sys.stdout = None
    elif how == "raise":
        del sys.stderr
        raise ValueError("in the dark")
    return how
${start}`);
  for (const how of ["delete", "close", "none", "raise", "last"]) {
    const result = await handler.run({ how });
    assert.equal(result.type, how === "raise" ? "failed" : "done", JSON.stringify(result));
    await handler.untilLine(new RegExp(`^\\[job-\\d\\] before ${how}`));
  }
  await handler.untilLine(/ValueError: in the dark/);
});

test("sys.exit costs the job, os._exit the process", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(
    `import os, runpod, sys\ndef handler(job):\n    if job["input"]["how"] == "sys":\n        sys.exit("enough")\n    os._exit(4)\n${start}`,
  );
  assert.match(failureOf(await handler.run({ how: "sys" })).text ?? "", /SystemExit.*enough/);
  const lost = failureOf(await handler.run({ how: "os" }));
  assert.deepEqual([lost.code, lost.retryable], ["engine.lost", true]);
  assert.equal(await handler.ended, 4);
  const gone = failureOf(await handler.run({ how: "sys" }));
  assert.deepEqual([gone.code, gone.retryable], ["engine.unreachable", true]);
});

const broken: Record<string, { readonly source: string; readonly says: RegExp }> = {
  "a file that raises": { source: "import os\n\nraise ValueError('no GPU')\n", says: /^Cannot load the handler: handler\.py:3: ValueError: no GPU\.$/ },
  "a file that exits": {
    source: "import sys\nsys.exit(0)\n",
    says: /^Cannot load the handler: handler\.py:2 ended with exit code 0 before it served a job\.$/,
  },
  "a file that is no Python": { source: "def handler(job):\n  return 1\n bad\n", says: /^Cannot load the handler: handler\.py:3: IndentationError: unindent/ },
  "a file without a handler": {
    source: "def handle(job): pass\n",
    says: /^Cannot load the handler: handler\.py has no handler: looked for a call of runpod\.serverless\.start/,
  },
  "a file whose handler is none": { source: "handler = 5\n", says: /and for a function named handler \(its `handler` is a int\)/ },
  "a start without a handler": {
    source: "import runpod\nrunpod.serverless.start({})\n",
    says: /^Cannot load the handler: handler\.py:2: TypeError: runpod\.serverless\.start needs/,
  },
  "a failed fitness check": {
    source: `import runpod\n@runpod.serverless.register_fitness_check\ndef check():\n    raise RuntimeError("unfit")\ndef handler(job): pass\n${start}\n`,
    says: /^Cannot load the handler: .*RuntimeError: unfit\.$/,
  },
};

for (const [name, { source, says }] of Object.entries(broken)) {
  test(`${name} ends the process with its reason`, { timeout: 60_000 }, async () => {
    await using handler = await startHandler(source, { untilReady: false });
    await handler.untilLine(says);
    assert.equal(await handler.ended, 1);
  });
}

test("a file that hangs while it is loaded is not ready, and ends when told to", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`import time\nprint("loading")\ntime.sleep(600)\n`, { untilReady: false });
  await handler.untilLine(/^loading$/);
  assert.equal(await handler.engine.isReady({ signal: signal() }), false);
  handler.kill("SIGTERM");
  assert.equal(await handler.ended, "SIGTERM");
});

test("SIGTERM unwinds what stands around start, and interrupts the job", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`
import atexit, runpod, time
atexit.register(print, "at exit")
def handler(job):
    print("working")
    time.sleep(600)
try:
    ${start}
    print("after start")
finally:
    print("model unloaded")`);
  const running = handler.run();
  await handler.untilLine(/working/);
  handler.kill("SIGTERM");
  assert.equal(failureOf(await running).code, "engine.lost");
  assert.equal(await handler.ended, 0);
  assert.ok(handler.lines.includes("model unloaded") && handler.lines.includes("at exit") && !handler.lines.includes("after start"), handler.lines.join("\n"));
});

test("another program on the port is not taken for a handler", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(`import runpod\ndef handler(job): return 1\n${start}`);
  const post = (path: string, body: string, type: string) =>
    fetch(handler.url + path, { method: "POST", body, headers: { "content-type": type, connection: "close" }, signal: signal() });
  assert.deepEqual(
    [
      (await post("/run", "{", "application/json")).status,
      (await post("/run", "[]", "application/json")).status,
      (await post("/run", "{}", "application/json")).status,
      (await post("/run", '{"attempt":"x","job":{}}', "text/plain")).status,
      (await post("/nothing", "{}", "application/json")).status,
      (await fetch(`${handler.url}/`, { signal: signal() })).status,
    ],
    [400, 400, 400, 415, 404, 404],
  );
  assert.equal((await handler.run()).type, "done");
  assert.ok(existsSync(handler.dir));
});
