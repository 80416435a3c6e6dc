// Every kind on what runs without a webui or a ComfyUI: doubles, the bundled engine with its tiny model, a handler of the user's own.
import { connectComfyui } from "../../src/engines/comfyui/connect.ts";
import { connectPython } from "../../src/engines/python/connect.ts";
import { connectSdapi } from "../../src/engines/sdapi/connect.ts";
import { startComfyDouble } from "../doubles/comfyui.ts";
import { startNoopEngine } from "../doubles/noop-engine.ts";
import { startHandler } from "../engines/python/handler-process.ts";
import { holding, workflow } from "../engines/comfyui/connection.ts";
import { skip as skipBundled, startBundledEngine } from "../fixtures/bundled-engine.ts";
import { engineConformance } from "./engine.ts";

engineConformance({
  name: "a1111, on a double",
  async start() {
    const double = await startNoopEngine("--serial");
    return {
      connect: (options) => connectSdapi("a1111", { progressMs: 5 })({ name: "a1111", url: double.url, slots: 1 }, options),
      kill: double.stop,
      [Symbol.asyncDispose]: double.stop,
    };
  },
  quick: { prompt: "quick" },
  long: { prompt: "long", noop: { hold: true } },
  stepping: { prompt: "stepping", noop: { delayMs: 100 } },
  bad: [
    {
      prompt: "refused",
      noop: { status: 422, error: '{"detail":[{"loc":["body","steps"],"msg":"value is not a valid integer","type":"type_error.integer"}]}' },
    },
    { prompt: "broken", noop: { status: 500 } },
  ],
});

const picture = { prompt: "a lighthouse", steps: 2, width: 64, height: 64, seed: 7 };
engineConformance({
  name: "diffusers, the bundled engine",
  skip: skipBundled,
  async start() {
    const real = await startBundledEngine();
    return {
      connect: (options) => connectSdapi("diffusers", { progressMs: 10 })({ name: "diffusers", url: real.url, slots: 1 }, options),
      kill: real.kill,
      [Symbol.asyncDispose]: async () => await real[Symbol.asyncDispose](),
    };
  },
  quick: picture,
  long: { ...picture, steps: 5000, width: 256, height: 256 },
  stepping: { ...picture, steps: 30, width: 128, height: 128 },
  bad: [{ steps: "many" }, { ...picture, init_images: ["no image"] }],
});

for (const version of ["0.3.64", "0.33.0"] as const)
  engineConformance({
    name: `comfyui, on a double of ${version}`,
    async start() {
      const double = await startComfyDouble({ version });
      return {
        connect: (options) => connectComfyui({ name: "comfyui", url: double.url, slots: 1 }, options),
        kill: double.crash,
        [Symbol.asyncDispose]: async () => await double[Symbol.asyncDispose](),
      };
    },
    quick: { workflow: workflow() },
    long: holding(),
    stepping: { prompt: "a castle", steps: 5, width: 64, height: 64 },
    bad: [{ workflow: { "1": { class_type: "SaveImag", inputs: {} } } }, { workflow: "no such workflow" }, { prompt: 1 }],
  });

const handler = `
import time
import runpod

def handler(job):
    given = job["input"]
    if given.get("bad"):
        return {"error": "bad input"}
    for step in range(given.get("steps", 1)):
        runpod.serverless.progress_update(job, f"step {step}")
        time.sleep(0.01)
    while given.get("hold"):
        time.sleep(0.01)
    return {"images": [], "made": True}

runpod.serverless.start({"handler": handler})
`;
engineConformance({
  name: "python, a handler of the user's own",
  async start() {
    const child = await startHandler(handler);
    return {
      connect: (options) => connectPython({ name: "handler", url: child.url, slots: 1 }, options),
      async kill() {
        child.kill("SIGKILL");
        await child.ended;
      },
      [Symbol.asyncDispose]: async () => await child[Symbol.asyncDispose](),
    };
  },
  quick: { prompt: "quick" },
  long: { hold: true },
  stepping: { steps: 5 },
  bad: [{ bad: true }],
});
