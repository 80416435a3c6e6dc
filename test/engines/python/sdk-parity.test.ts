import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type PostRecord, type RunpodPlatform, startRunpodPlatform } from "../../doubles/runpod-platform.ts";
import { limit, runpodConfig, startRig } from "../../jobs/worker-rig.ts";
import { python, sdkPython, startHandler } from "./handler-process.ts";

const skip = sdkPython ? false : "FETTLE_TEST_PYTHON names no Python with RunPod's SDK";

interface Case {
  readonly source: string;
  readonly inputs: readonly Record<string, unknown>[];
}

const returns = `
import runpod
VALUES = [None, True, 0, 2.5, "té\\U0001f600\\n", [], [1, {"a": [None]}], {"a": 1}, {}, {"output": {"x": 1}}, {"error": "bad"}, {"error": "bad", "seen": [1]},
          {"error": None, "a": 1}, {"error": "", "refresh_worker": False}, {"refresh_worker": True, "a": 1}, {"refresh_worker": True},
          {"refresh_worker": True, "error": "x"}, {1: "number key", "t": (1, 2)}]
def handler(job):
    return VALUES[job["input"]["at"]]
if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
`;

const raises = `
import runpod
def inner(text):
    raise KeyError(text)
def handler(job):
    try:
        inner("first ö")
    except KeyError as error:
        if job["input"]["at"]:
            raise RuntimeError("second \\"quoted\\"") from error
        raise
runpod.serverless.start({"handler": handler})
`;

const generator = (start: string) => `
import runpod
def handler(job):
    at = job["input"]["at"]
    if at == 0:
        return
    yield {"i": 0}
    yield [1, "ü"]
    yield None
    if at == 2:
        raise ValueError("in the middle")
    if at == 3:
        yield {"error": {"code": 1}, "also": True}
        yield "never"
    yield "end"
runpod.serverless.start(${start})
`;

const asynchronous = `
import asyncio, runpod
async def handler(job):
    await asyncio.sleep(0)
    if job["input"]["at"]:
        raise ValueError("async")
    return {"id": job["id"], "keys": sorted(job)}
runpod.serverless.start({"handler": handler, "refresh_worker": False})
`;

const cases: Record<string, Case> = {
  "return values": { source: returns, inputs: Array.from({ length: 18 }, (_, at) => ({ at })) },
  exceptions: { source: raises, inputs: [{ at: 0 }, { at: 1 }] },
  "a generator": { source: generator('{"handler": handler}'), inputs: [{ at: 0 }, { at: 1 }, { at: 2 }, { at: 3 }] },
  "an aggregated generator": { source: generator('{"handler": handler, "return_aggregate_stream": True}'), inputs: [{ at: 1 }, { at: 2 }] },
  "an async handler": { source: asynchronous, inputs: [{ at: 0 }, { at: 1 }] },
};

for (const [name, { source, inputs }] of Object.entries(cases)) {
  for (const [how, chosen] of [
    ["without the SDK", python],
    ["with the SDK installed", sdkPython],
  ] as const) {
    if (how === "with the SDK installed" && name !== "return values" && name !== "a generator") continue;
    test(`${name}, ${how}: RunPod gets from fettle what its own SDK sends`, { skip, timeout: 180_000 }, async () => {
      const [theirs, ours] = await Promise.all([answersOfSdk(source, inputs), answersOfFettle(source, inputs, chosen)]);
      assert.deepEqual(ours, theirs);
    });
  }
}

type Answers = Record<string, { readonly result: unknown; readonly isStream: string | null; readonly pieces: readonly unknown[] }>;

async function answers(platform: RunpodPlatform, inputs: readonly Record<string, unknown>[]): Promise<Answers> {
  platform.submit(...inputs.map((input, at) => ({ id: `job-${at}`, input, webhook: "http://example.invalid/hook", policy: { ttl: 1 } })));
  await platform.waitForAll(limit(150_000));
  assert.deepEqual(platform.violations, []);
  return Object.fromEntries(
    platform.jobs().map(({ id, results, chunks }) => {
      const accepted = results.find((post) => post.accepted) as PostRecord;
      const pieces = chunks.map(({ text }) => JSON.parse(text ?? "") as unknown);
      return [id, { result: plain(JSON.parse(accepted.text ?? "")), isStream: accepted.request.query.get("isStream"), pieces }];
    }),
  );
}

/** Without the file's place and the SDK's own frames, which ours does not have. */
function plain(body: Record<string, unknown>): unknown {
  const clean = (text: string) =>
    text.replace(/ {2}File "[^"]*(?:rp_job|serverless)[^"]*", line \d+, in .*\n(?: {4}.*\n)*/g, "").replace(/File "[^"]*\/(handler\.py)"/g, 'File "$1"');
  const { error } = body;
  if (typeof error !== "string") return body;
  if (!error.startsWith('{"error_type"')) return { ...body, error: clean(error) };
  const told = JSON.parse(error) as Record<string, string>;
  return { ...body, error: { ...told, keys: Object.keys(told), error_traceback: clean(told["error_traceback"] ?? "") } };
}

async function answersOfSdk(source: string, inputs: readonly Record<string, unknown>[]): Promise<Answers> {
  await using platform = await startRunpodPlatform({ holdMs: 500 });
  const dir = mkdtempSync(join(tmpdir(), "fettle-sdk-"));
  writeFileSync(join(dir, "handler.py"), source);
  const child = spawn(sdkPython, ["-u", join(dir, "handler.py")], {
    cwd: dir,
    env: { ...process.env, ...platform.env(), RUNPOD_POD_HOSTNAME: "host-1", RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: "true", RUNPOD_SKIP_GPU_CHECK: "true", HOME: dir },
    stdio: "ignore",
    detached: true,
  });
  const ended = once(child, "close");
  try {
    return await answers(platform, inputs);
  } finally {
    // Its pings come from a process of its own.
    process.kill(-(child.pid ?? 0), "SIGKILL");
    await ended;
    rmSync(dir, { recursive: true, force: true });
  }
}

async function answersOfFettle(source: string, inputs: readonly Record<string, unknown>[], chosen: string): Promise<Answers> {
  await using platform = await startRunpodPlatform();
  const env = platform.env();
  await using handler = await startHandler(source, { python: chosen, env: { RUNPOD_POD_ID: env["RUNPOD_POD_ID"] ?? "", RUNPOD_POD_HOSTNAME: "host-1" } });
  await using _rig = await startRig(handler.engine, { sources: { runpod: runpodConfig(env) } });
  return await answers(platform, inputs);
}
