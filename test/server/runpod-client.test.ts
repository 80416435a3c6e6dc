// not on deno: this one is about the Python client; what it asks is tested there by the other files.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createScriptedEngine, doneWith, untilInterrupted } from "../jobs/scripted-engine.ts";
import { httpConfig, limit, startRig } from "../jobs/worker-rig.ts";

const python = process.env["FETTLE_TEST_PYTHON"] ?? process.env["FETTLE_PYTHON"] ?? "";
const skip = python ? false : "FETTLE_TEST_PYTHON names no Python with the runpod package";
const script = fileURLToPath(new URL("../fixtures/runpod_client.py", import.meta.url));

test("RunPod's own Python clients, blocking and asyncio, work against the job API", { timeout: 120_000, skip }, async () => {
  const engine = createScriptedEngine();
  engine.script = async (attempt, { signal, onPartial }) => {
    const prompt = String(attempt.input["prompt"]);
    if (prompt === "held") return await untilInterrupted(signal);
    if (prompt === "pieces") for (let at = 0; at < 3; at++) await onPartial?.({ at });
    return doneWith(attempt, JSON.stringify({ images: [prompt] }));
  };
  await using rig = await startRig(engine, { sources: { http: { ...httpConfig(), apiKey: "a-long-secret" } } });
  const env = { ...process.env, RUNPOD_ENDPOINT_BASE_URL: `${await rig.untilListening()}/v2` };
  const { stdout } = await promisify(execFile)(python, [script, "a-long-secret"], { env, ...limit(100_000) });
  const said = JSON.parse(stdout) as Record<string, unknown>;
  const pieces = [{ at: 0 }, { at: 1 }, { at: 2 }];
  const { health, ...rest } = said;
  assert.deepEqual(rest, {
    sync: { images: ["one"] },
    output: { images: ["two"] },
    status: "COMPLETED",
    stream: pieces,
    purged: { removed: 1, status: "completed" },
    waiting: "CANCELLED",
    held: "CANCELLED",
    unauthorized: "401 Unauthorized | Make sure Runpod API key is set and valid.",
    async_output: { images: ["three"] },
    async_stream: pieces,
    async_cancel: "CANCELLED",
    async_health: ["jobs", "workers"],
    async_purged: { removed: 0, status: "completed" },
  });
  assert.deepEqual((health as { jobs: unknown }).jobs, { completed: 3, failed: 0, inProgress: 1, inQueue: 1, retried: 0 });
});
