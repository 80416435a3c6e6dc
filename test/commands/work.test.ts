import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startNoopEngine } from "../doubles/noop-engine.ts";
import { startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { limit, runtime, startFettle } from "./fettle-at-work.ts";

const runpodSource = `{ runpod: { takeUrl: "\${RUNPOD_WEBHOOK_GET_JOB}", doneUrl: "\${RUNPOD_WEBHOOK_POST_OUTPUT}", pingUrl: "\${RUNPOD_WEBHOOK_PING}", apiKey: "\${RUNPOD_AI_API_KEY}", podId: "\${RUNPOD_POD_ID}" } }`;

async function ask(url: string, body?: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(url, { ...(body !== undefined && { method: "POST", body: JSON.stringify(body) }), ...limit() });
  return (await response.json()) as Record<string, unknown>;
}

test("kill -9 of the worker in mid-job: the engine stays, the worker returns, no job is lost", { timeout: 60_000 }, async () => {
  await using engine = await startNoopEngine("--hold");
  await using platform = await startRunpodPlatform();
  const sources = runpodSource.replace("{ runpod:", "{ http: { port: 0 }, runpod:");
  await using fettle = await startFettle(engine.url, sources, { env: platform.env() });
  const [, url] = await fettle.untilLog(/Jobs are taken at (\S+)/);
  platform.submit({ id: "from-runpod", input: { prompt: "first" } });
  await engine.waitFor({ running: 1 });
  for (const id of ["h1", "h2"]) assert.equal((await ask(`${url}/run`, { id, input: { prompt: id } }))["status"], "IN_QUEUE");

  const pid = await fettle.workerPid();
  process.kill(pid, "SIGKILL");
  await fettle.untilLog(/taken up again[\s\S]*taken up again/);
  await engine.waitFor({ interrupts: 1 });
  await engine.waitFor({ started: 2 });
  assert.notEqual(await fettle.workerPid(), pid);
  assert.equal((await engine.stats()).pid, engine.pid);
  for (let finished = 2; finished <= 4; finished++) {
    await engine.waitFor({ started: finished });
    await engine.release();
  }
  await platform.waitForResult("from-runpod", limit());
  const { prompts } = await engine.stats();
  assert.deepEqual(prompts, { first: { started: 2, finished: 2 }, h1: { started: 1, finished: 1 }, h2: { started: 1, finished: 1 } });
  const again = await fettle.untilLog(/Jobs are taken at (\S+)[\s\S]*Jobs are taken at (\S+)/);
  for (const id of ["h1", "h2"]) assert.equal((await ask(`${again[2]}/runsync`, { id, input: { prompt: id } }))["status"], "COMPLETED");
  assert.equal(await fettle.stop(), 0);
  assert.deepEqual(platform.violations, []);
});

test("SIGTERM ends an idle fettle that holds a poll, with 0 and nothing lost", { timeout: 60_000 }, async () => {
  await using engine = await startNoopEngine();
  await using platform = await startRunpodPlatform();
  await using fettle = await startFettle(engine.url, runpodSource, { env: platform.env() });
  platform.submit(...Array.from({ length: 30 }, (_, index) => ({ id: `job-${index}`, input: { prompt: `${index}` } })));
  await platform.waitForAll(limit());
  const take = await platform.waitForHeldTake(limit());
  assert.equal(await fettle.stop(), 0);
  assert.equal(take.status, 499);
  assert.deepEqual([platform.outstanding(), platform.violations, platform.summary().repeats], [[], [], 0]);
});

test("A file's job runs once and fettle ends with its outcome", { timeout: 60_000 }, async () => {
  await using engine = await startNoopEngine();
  for (const [input, code, key] of [
    [{ prompt: "good" }, 0, "output"],
    [{ prompt: "bad", noop: { status: 422 } }, 1, "error"],
  ] as const) {
    const job = join(mkdtempSync(join(tmpdir(), "fettle-file-")), "test_input.json");
    writeFileSync(job, JSON.stringify({ input }));
    const images = join(job, "..", "images");
    await using fettle = await startFettle(engine.url, `{ file: { enabled: true, path: ${job} } }`, { more: `results: { files: { dir: ${images} } }` });
    assert.equal((await fettle.exited)[0], code);
    const written = JSON.parse(readFileSync(job.replace("input", "output"), "utf8")) as Record<string, unknown>;
    assert.deepEqual(Object.keys(written), [key]);
    assert.equal(existsSync(images) ? readdirSync(images).length : 0, code === 0 ? 1 : 0);
    rmSync(join(job, ".."), { recursive: true, force: true });
  }
});

test("Four results of 15 MB at once through the job API, each whole", { timeout: 60_000 }, async () => {
  await using engine = await startNoopEngine();
  await using fettle = await startFettle(engine.url, "{ http: { port: 0 } }");
  const [, url] = await fettle.untilLog(/Jobs are taken at (\S+)/);
  const results = await Promise.all([1, 2, 3, 4].map((at) => ask(`${url}/runsync`, { input: { prompt: `${at}`, noop: { sizeBytes: 15_000_000 } } })));
  for (const { status, output } of results) {
    assert.equal(status, "COMPLETED");
    assert.ok(((output as { images: string[] }).images[0]?.length ?? 0) >= 14_900_000);
  }
});

test("work alone says what it needs", async () => {
  const child = spawn(process.execPath, [...runtime, "work"], { env: { PATH: process.env["PATH"] }, stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const [code] = (await once(child, "close")) as [number];
  assert.equal(code, 2);
  assert.match(said, /FETTLE_CONTROL does not name a control socket/);
});
