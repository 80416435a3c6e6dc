import assert from "node:assert/strict";
import { test } from "node:test";
import { configSchema } from "../../src/config/schema/index.ts";
import { kinds } from "../../src/engines/index.ts";
import { launcherOf, type LaunchFacts } from "../../src/plan/launch.ts";

const facts: LaunchFacts = { port: 3000, assetDir: "/assets", modelsDir: "/models", exists: () => false };

function launch(options: Record<string, unknown>, more: Partial<LaunchFacts> = {}) {
  const engine = configSchema.parse({ engines: { one: options } }).engines["one"];
  assert.ok(engine);
  return launcherOf(kinds, engine).launch("one", engine, { ...facts, ...more });
}

test("diffusers: the model, its folder and the device reach the engine", () => {
  const { argv } = launch({
    kind: "diffusers",
    python: "/venv/python",
    model: "/m.safetensors",
    modelsDir: "/all",
    device: "cuda:1",
    dtype: "bfloat16",
    extraArgs: ["--no-half-vae"],
  });
  assert.equal(
    argv.join(" "),
    "/venv/python -u /assets/engine.py --host 127.0.0.1 --port 3000 --model /m.safetensors --models-dir /all --device cuda:1 --dtype bfloat16 --preload --no-half-vae",
  );
});

test("diffusers: a tiny model is made only when it was asked for and is missing", () => {
  assert.equal(launch({ kind: "diffusers", model: "/m" }).tasks, undefined);
  assert.equal(launch({ kind: "diffusers", tinyModel: true }, { exists: (path) => path === "/models/tiny-sdxl" }).tasks, undefined);
  const [task] = launch({ kind: "diffusers", tinyModel: true, model: "/mine" }).tasks ?? [];
  assert.deepEqual(task?.argv, ["python3", "-u", "/assets/tiny_model.py", "--keep", "/mine"]);
});

test("diffusers: torch gets no more threads than the container has CPUs", () => {
  assert.equal(launch({ kind: "diffusers" }).env["OMP_NUM_THREADS"], undefined);
  assert.equal(launch({ kind: "diffusers" }, { cpuLimit: 3 }).env["OMP_NUM_THREADS"], "3");
});

test("a1111: a wildcard address is asked on the loopback one", () => {
  const { readiness } = launch({ kind: "a1111", host: "0.0.0.0" });
  assert.equal(readiness.type === "http" && readiness.url, "http://127.0.0.1:3000/sdapi/v1/sd-models");
});

test("a1111: a free port replaces --port in both its forms, or is added", () => {
  const args = (given: string[]) => launch({ kind: "a1111", port: 0, args: given }, { port: 41000 }).argv.slice(2).join(" ");
  assert.equal(args(["--api", "--port=3000", "--nowebui"]), "--api --port 41000 --nowebui");
  assert.equal(args(["--port", "3000", "--api"]), "--port 41000 --api");
  assert.equal(args(["--api"]), "--api --port 41000");
});
