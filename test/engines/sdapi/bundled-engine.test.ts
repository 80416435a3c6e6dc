import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Progress } from "../../../src/engines/engine.ts";
import { makeAttempt } from "../../fixtures/sdapi-answer.ts";
import { connect, say } from "./connection.ts";

const python = process.env["FETTLE_TEST_PYTHON"] ?? process.env["FETTLE_PYTHON"] ?? "";
const helper = fileURLToPath(new URL("../../../src/engines/diffusers/helper", import.meta.url));
const env = { ...process.env, OMP_NUM_THREADS: "1" };
const small = { prompt: "a lighthouse", steps: 2, width: 64, height: 64, seed: 7 };

/** The real engine with a tiny model, on a free port that it names itself. */
async function startEngine() {
  const dir = mkdtempSync(join(tmpdir(), "fettle-bundled-"));
  const made = spawnSync(python, [join(helper, "tiny_model.py"), join(dir, "model")], { env, encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
  const child = spawn(python, ["-u", join(helper, "engine.py"), "--port", "0", "--model", join(dir, "model"), "--device", "cpu"], {
    env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = once(child, "close");
  const lines: string[] = [];
  const url = new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      lines.push(line);
      const found = /Uvicorn running on (\S+)/.exec(line)?.[1];
      if (found) resolve(found);
    });
    void ended.then(() => reject(new Error(`the engine ended:\n${lines.join("\n")}`)));
  });
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(child.pid ?? 0, "SIGKILL");
    await ended;
    rmSync(dir, { recursive: true, force: true });
  };
  return { url: await url, [Symbol.asyncDispose]: stop };
}

test(
  "the bundled engine runs jobs, and a cancel ends one job and no other",
  { timeout: 180_000, skip: python ? false : "FETTLE_TEST_PYTHON names no Python with the engine's requirements" },
  async () => {
    await using real = await startEngine();
    const engine = connect(real.url, { kind: "diffusers", pace: { progressMs: 20 }, slots: 2 });
    while (!(await engine.isReady({ signal: AbortSignal.timeout(120_000) })));
    const never = new AbortController().signal;

    await using first = await makeAttempt({ ...small, steps: 30, width: 128, height: 128 });
    await using second = await makeAttempt({ ...small, steps: 1000 });
    const progress: Progress[] = [];
    let started: (() => void) | undefined;
    const running = new Promise<void>((resolve) => (started = resolve));
    const onProgress = (seen: Progress) => {
      progress.push(seen);
      started?.();
    };
    const one = engine.run({ ...first, id: "one" }, { signal: never, onProgress });
    await Promise.race([running, one]);
    // Queued behind the first one; the engine's interrupt must find it there, and leave the running one alone.
    const cancel = new AbortController();
    const two = engine.run({ ...second, id: "two" }, { signal: cancel.signal });
    cancel.abort();
    assert.equal(say(await two), "cancelled");
    const result = await one;
    assert.equal(say(result), "done");
    assert.ok(result.type === "done" && result.output.images[0]?.width === 128);
    assert.ok(
      progress.every(({ steps }) => steps === undefined || steps === 30),
      JSON.stringify(progress),
    );

    await using bad = await makeAttempt({ steps: "many" });
    assert.match(say(await engine.run(bad, { signal: never })), /^engine\.rejected Cannot run the job: steps: /);
    await engine.settle({ signal: never });
    await using last = await makeAttempt({ ...small, init_images: [await imageOf(engine)] });
    assert.equal(say(await engine.run(last, { signal: never })), "done");
  },
);

async function imageOf(engine: ReturnType<typeof connect>): Promise<string> {
  await using attempt = await makeAttempt(small);
  const result = await engine.run(attempt, { signal: new AbortController().signal });
  assert.ok(result.type === "done", say(result));
  return (JSON.parse(readFileSync(result.output.answer.path, "utf8")) as { images: string[] }).images[0] ?? "";
}
