import assert from "node:assert/strict";
import { test } from "node:test";
import { loadConfig } from "../../src/config/load.ts";
import { planOfProfile } from "./plan-of.ts";

test("profile comfyui: worker-comfyui's layout and variables; its key is no part of a command", () => {
  const env = { COMFY_ORG_API_KEY: "key-of-comfy-org", RUNPOD_WEBHOOK_GET_JOB: "http://127.0.0.1:1/take", REFRESH_WORKER: "true", COMFY_LOG_LEVEL: "DEBUG" };
  const { plan, sources } = planOfProfile("comfyui", { env });
  const engine = plan.services.find(({ name }) => name === "comfyui");
  assert.equal(engine?.cwd, "/comfyui");
  assert.match(engine.argv.join(" "), /^python main\.py --listen 127\.0\.0\.1 --port 8188 .*--disable-metadata --log-stdout --verbose DEBUG$/);
  assert.doesNotMatch(JSON.stringify(plan.services), /key-of-comfy-org/);
  assert.equal(plan.engines[0]?.settings?.["comfyOrgApiKey"], "key-of-comfy-org");
  assert.deepEqual([sources.runpod?.enabled, sources.runpod?.refreshWorker, sources.http?.listen], [true, true, "127.0.0.1"]);
  assert.ok(plan.services.some(({ role }) => role === "worker"));
});

test("comfyui-pod: jobs over HTTP only when they are asked for; the engine's command is the seed's", () => {
  const { plan } = planOfProfile("comfyui-pod", {});
  assert.ok(!plan.services.some(({ role }) => role === "worker"));
  const engine = plan.services.find(({ name }) => name === "comfyui");
  assert.deepEqual(engine?.argv, [
    "/app/venv/bin/python",
    "main.py",
    "--listen",
    "0.0.0.0",
    "--port",
    "3000",
    "--extra-model-paths-config",
    "/app/comfyui/extra_model_paths.yaml",
  ]);
  assert.equal(engine.pidFile, "/workspace/logs/comfyui.pid");
  const withJobs = planOfProfile("comfyui-pod", { env: { ENABLE_JOB_API: "true" } });
  assert.ok(withJobs.plan.services.some(({ role }) => role === "worker"));
  assert.deepEqual([withJobs.sources.http?.port, withJobs.sources.http?.listen], [8001, "127.0.0.1"]);
});

test("a --port among the arguments that fettle does not know of is a warning", () => {
  const { warnings } = loadConfig({ profile: "comfyui", env: {}, cwd: "/", uid: 0, flags: { set: ["engines.comfyui.extraArgs=[--port, 9000]"] } });
  assert.match(warnings.join("\n"), /"comfyui" is started with --port 9000, but fettle will look for it on port 8188/);
});
