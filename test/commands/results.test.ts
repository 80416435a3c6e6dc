import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { startNoopEngine } from "../doubles/noop-engine.ts";
import { startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { s3Keys, s3Python, s3Skip, startS3 } from "../doubles/s3-server.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const runtime = process.versions["deno"] === undefined ? [process.execPath, main] : [process.execPath, "run", "-A", main];
/** Another program to drive than the sources, such as the compiled binary. */
const program = process.env["FETTLE_TEST_PROGRAM"] ? [process.env["FETTLE_TEST_PROGRAM"]] : runtime;

test("a RunPod job's images go into the bucket of the platform's variables, in the format configured", { skip: s3Skip, timeout: 120_000 }, async () => {
  const now = new Date();
  const month = `${String(now.getMonth() + 1).padStart(2, "0")}-${String(now.getFullYear()).slice(-2)}`;
  await using s3 = await startS3({ bucket: month });
  await using engine = await startNoopEngine();
  await using platform = await startRunpodPlatform();
  const dir = mkdtempSync(join(tmpdir(), "fettle-results-"));
  writeFileSync(
    join(dir, "fettle.yaml"),
    `extends: a1111-runpod
engines: { webui: { url: "${engine.url}" } }
health: { enabled: false }
log: { level: debug, format: plain }
results: { format: webp, python: "${s3Python}" }
stateDir: ${dir}/state
logDir: ${dir}/log
runtimeDir: ${dir}/run
`,
  );
  const bucket = { BUCKET_ENDPOINT_URL: s3.endpoint, BUCKET_ACCESS_KEY_ID: s3Keys.accessKeyId, BUCKET_SECRET_ACCESS_KEY: s3Keys.secretAccessKey };
  const env = { ...process.env, ...platform.env(), ...bucket, PORT: "0", RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: "true", RUNPOD_SKIP_GPU_CHECK: "true" };
  const [command = "", ...args] = program;
  const child = spawn(command, [...args, "start", "--config", join(dir, "fettle.yaml")], { cwd: dir, env, stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (log += text));
  const exited = once(child, "exit");
  try {
    platform.submit({ id: "sync-42", input: { prompt: "a cat" } });
    const result = await platform.waitForResult("sync-42", { signal: AbortSignal.timeout(60_000) });
    const { output, error } = JSON.parse(result.text ?? "{}") as { output?: { images: string[] }; error?: string };
    assert.equal(error, undefined, log);
    const url = new URL(output?.images[0] ?? "");
    assert.match(url.pathname, new RegExp(`^/${month}/sync-42/[a-z]{8}\\.webp$`));
    const response = await fetch(url, { signal: AbortSignal.timeout(20_000) });
    assert.deepEqual([response.status, response.headers.get("content-type")], [200, "image/webp"]);
    assert.equal(Buffer.from(await response.arrayBuffer()).toString("latin1", 8, 12), "WEBP");
  } finally {
    if (child.pid !== undefined && child.exitCode === null) process.kill(child.pid, "SIGTERM");
    await exited;
  }
  const kept = readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((name) => /journal|log\//.test(name) && !name.endsWith("/"));
  const texts = [log, ...kept.flatMap((name) => readIfFile(join(dir, name)))];
  for (const text of texts) assert.ok(!text.includes(s3Keys.secretAccessKey), "the secret key stays out of logs and journal");
  rmSync(dir, { recursive: true, force: true });
});

function readIfFile(path: string): string[] {
  try {
    return [readFileSync(path, "latin1")];
  } catch {
    return [];
  }
}
