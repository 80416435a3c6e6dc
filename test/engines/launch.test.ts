import assert from "node:assert/strict";
import { test } from "node:test";
import { configSchema } from "../../src/config/schema/index.ts";
import { kinds } from "../../src/engines/index.ts";
import { launcherOf, type LaunchFacts } from "../../src/plan/launch.ts";
import { planOf } from "../plan/plan-of.ts";

const facts: LaunchFacts = { port: 3000, assetDir: "/assets", selfArgv: ["/fettle"], modelsDir: "/models", ownDir: "/own", exists: () => false };

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
  assert.deepEqual(task && "argv" in task && task.argv, ["python3", "-u", "/assets/tiny_model.py", "--keep", "/mine"]);
});

test("diffusers: with templates the engine is told whom to ask for their files, and the VAE's source stays off the command line", () => {
  const options = {
    kind: "diffusers",
    templates: "t.json",
    modelsDir: "/volume",
    mergedDirs: ["/a", "/b"],
    vae: "https://user:pass@host/vae",
    keepMerged: true,
  };
  const { argv, env } = launch(options);
  const given = argv.slice(argv.indexOf("--templates"));
  const resolver = ["/fettle", "template", "--file", "t.json", "--models-dir", "/volume", "--merged-dir", "/a", "--merged-dir", "/b"];
  assert.deepEqual(given, ["--templates", "t.json", "--template-resolver", JSON.stringify(resolver), "--template", "", "--keep-merged"]);
  assert.equal(env["FETTLE_TEMPLATE_VAE"], options.vae);
  assert.ok(!argv.join(" ").includes("pass"));
  assert.ok(!launch({ ...options, model: "/m" }).argv.includes("--template"));
  assert.ok(launch({ kind: "diffusers", modelMemory: "3MiB" }).argv.join(" ").includes("--model-memory 3"));
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

const comfyui = (options: Record<string, unknown> = {}, more: Partial<LaunchFacts> = {}) =>
  launch({ kind: "comfyui", directory: "/comfy", python: "/venv/python", ...options }, { port: 8188, ...more });

test("comfyui: main.py in its folder with address and port; the user's arguments come last and win", () => {
  const { argv, cwd, tasks, readiness } = comfyui({ preview: "auto", args: ["--lowvram"], extraArgs: ["--port", "1"] });
  assert.equal(argv.join(" "), "/venv/python main.py --listen 127.0.0.1 --port 8188 --preview-method auto --lowvram --port 1");
  assert.equal(cwd, "/comfy");
  assert.equal(tasks, undefined);
  assert.equal(readiness.type === "http" && readiness.url, "http://127.0.0.1:8188/system_stats");
});

test("comfyui: models of a volume are written into a file before it starts, every kind of them, the volume first", () => {
  const { argv, tasks } = comfyui({ models: "/vol/models", customNodes: "/vol/nodes", modelFolders: { rife: "rife", loras: ["loras", "/other/lora"] } });
  assert.equal(argv[argv.indexOf("--extra-model-paths-config") + 1], "/own/extra_model_paths.yaml");
  const steps = (tasks ?? []).flatMap((task) => ("steps" in task ? task.steps : []));
  assert.deepEqual(
    steps.filter(({ type }) => type === "directories").map((step) => "paths" in step && step.paths),
    [["/own"], ["/vol/nodes"]],
  );
  const written = steps.find((step) => step.type === "write");
  assert.ok(written?.type === "write" && typeof written.content === "object");
  const { volume, volume_nodes: nodes } = written.content.yaml as Record<string, Record<string, unknown>>;
  assert.equal(volume?.["base_path"], "/vol");
  assert.equal(volume?.["is_default"], true);
  assert.equal(volume?.["diffusion_models"], "models/diffusion_models/\nmodels/unet/\n");
  assert.equal(volume?.["ultralytics_bbox"], "models/ultralytics/bbox/");
  assert.equal(volume?.["rife"], "models/rife/");
  assert.equal(volume?.["loras"], "models/loras/\n../other/lora/\n");
  assert.deepEqual(nodes, { base_path: "/vol", custom_nodes: "nodes/" });
});

test("comfyui: a copy for each GPU has its own port, GPU, user, temp and database files", () => {
  const { plan } = planOf({ stateDir: "/state", engines: { comfy: { kind: "comfyui", replicas: "gpu" } } }, { gpus: ["4", "5"] });
  const copies = plan.services.filter(({ role }) => role === "engine");
  assert.deepEqual(
    copies.map(({ name, env, dependsOn, argv }) => [
      name,
      env["CUDA_VISIBLE_DEVICES"],
      dependsOn.map(({ service }) => service).join(),
      argv.slice(2).join(" "),
    ]),
    [0, 1].map((index) => {
      const own = `/state/engines/comfy-${index}`;
      return [
        `comfy-${index}`,
        String(4 + index),
        `comfy-${index}-setup`,
        `--listen 127.0.0.1 --port ${8188 + index} --user-directory ${own}/user --temp-directory ${own} --database-url sqlite:///${own}/comfyui.db`,
      ];
    }),
  );
  assert.deepEqual(
    plan.engines.map(({ url }) => url),
    ["http://127.0.0.1:8188", "http://127.0.0.1:8189"],
  );
});

test("comfyui: what its connection must know goes along with its address, whoever started it", () => {
  const { plan } = planOf({ engines: { comfy: { kind: "comfyui", url: "http://gpu:8188", checkpoint: "a.safetensors", workflows: "/w" } } });
  assert.deepEqual(plan.engines[0]?.settings, { checkpoint: "a.safetensors", workflows: "/w" });
});
