import { pause } from "../../src/util/pause.ts";
import { askEngine } from "./engine.ts";
import { type Fettle, startFettle } from "./fettle.ts";
import type { Target } from "./target.ts";

export const engineName = "webui";
export const bundledName = "bundled";
const sources = { http: { port: 0 } };
const bundled = {
  kind: "diffusers",
  port: 0,
  tinyModel: true,
  device: "cpu",
  python: process.env["FETTLE_PYTHON"] ?? "python3",
  env: { OMP_NUM_THREADS: "1" },
};

/** The seed's engine with what its image has replaced; the port is a free one. */
function real(target: Target): Readonly<Record<string, unknown>> {
  if (target.type === "running") return { url: target.url };
  const { directory, python, args } = target;
  return { directory, python, port: 0, args, env: { HF_HUB_OFFLINE: "1" } };
}

/** Of a former instance, whose jobs are taken up; and how long a stop may take. */
export interface Life {
  readonly stateDir?: string;
  readonly stopBudget?: string;
}

/** fettle with the real engine by profile a1111-runpod, jobs over HTTP. */
export async function startWithReal(target: Target, { stateDir, stopBudget = "8s" }: Life = {}): Promise<Fettle> {
  const args = target.type === "running" ? ["--engine-url", target.url] : [];
  const engines = target.type === "running" ? {} : { [engineName]: real(target) };
  return await startFettle({
    config: { extends: "a1111-runpod", engines, sources, stop: { budget: stopBudget } },
    args,
    ...(stateDir !== undefined && { stateDir }),
  });
}

/** fettle with the real and the bundled engine beside each other. */
export async function startWithBoth(target: Target): Promise<Fettle> {
  return await startFettle({ config: { extends: "a1111-runpod", engines: { [engineName]: real(target), [bundledName]: bundled }, sources } });
}

/** Small enough for a CPU. The prompt, sampler and settings are those of seed 003's body. */
export const seedJob = {
  prompt: "a photograph of an astronaut riding a horse",
  negative_prompt: "text, watermark, blurry, low quality",
  steps: 4,
  cfg_scale: 7,
  width: 64,
  height: 64,
  sampler_name: "DPM++ 2M Karras",
};

/** Steps of a job that takes about so long: measured on a job of 200 steps. */
export async function stepsThatTake(url: string): Promise<(ms: number) => number> {
  const measured = 200;
  const startedMs = performance.now();
  await askEngine(url, "POST", "/sdapi/v1/txt2img", { ...seedJob, steps: measured });
  const perStepMs = (performance.now() - startedMs) / measured;
  return (ms) => Math.min(9999, Math.max(20, Math.round(ms / perStepMs)));
}

export async function urlOf(fettle: Fettle, engine: string): Promise<string> {
  const url = (await fettle.snapshot()).engines.find(({ name }) => name === engine)?.url;
  if (!url) throw new Error(`fettle knows no engine ${engine}.`);
  return url;
}

/** Whether a process is there; a zombie is not. */
export async function untilGone(pid: number): Promise<void> {
  while (isAlive(pid)) await pause(20);
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

export interface Comparison {
  readonly title: string;
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
}

/** Requests whose answers are laid side by side. `image` is a PNG in base64. */
export function comparisons(image: string): Comparison[] {
  const post = (title: string, path: string, body?: unknown): Comparison => ({ title, method: "POST", path, body });
  const get = (path: string): Comparison => ({ title: path, method: "GET", path });
  const small = { ...seedJob, seed: 1, sampler_name: "Euler" };
  const text = (title: string, body: unknown) => post(title, "/sdapi/v1/txt2img", body);
  const picture = (title: string, body: unknown) => post(title, "/sdapi/v1/img2img", body);
  return [
    text("the seed's job", { ...seedJob, seed: 1 }),
    text("two batches of two", { ...small, n_iter: 2, batch_size: 2 }),
    text("no images wanted", { ...small, send_images: false }),
    text("a sampler that does not exist", { ...small, sampler_name: "nope" }),
    text("steps in text", { ...small, steps: "4" }),
    text("a checkpoint that does not exist", { ...small, override_settings: { sd_model_checkpoint: "nope" } }),
    picture("img2img", { ...small, init_images: [image] }),
    picture("inpainting", { ...small, init_images: [image], mask: image }),
    picture("img2img without an image", small),
    picture("an image that is none", { ...small, init_images: ["zzzz"] }),
    picture("an image of the local host", { ...small, init_images: ["http://127.0.0.1:1/x.png"] }),
    text("steps of a wrong type", { ...small, steps: "many" }),
    text("two wrong types", { ...small, cfg_scale: "x", width: "y" }),
    text("no JSON", "{no json"),
    text("no body", ""),
    text("no width", { ...small, width: 0 }),
    text("no steps", { ...small, steps: 0 }),
    text("an unknown script", { ...small, script_name: "nope" }),
    text("an unknown always-on script", { ...small, alwayson_scripts: { nope: { args: [] } } }),
    text("an unknown field", { ...small, unknown_field: 1 }),
    post("an unknown route", "/sdapi/v1/nope", {}),
    get("/sdapi/v1/txt2img"),
    get("/sdapi/v1/progress"),
    get("/sdapi/v1/sd-models"),
    get("/sdapi/v1/samplers"),
    get("/sdapi/v1/memory"),
    get("/sdapi/v1/options"),
    post("interrupt of nothing", "/sdapi/v1/interrupt"),
    post("skip of nothing", "/sdapi/v1/skip"),
    post("an option", "/sdapi/v1/options", { samples_format: "png" }),
    post("an unknown checkpoint as option", "/sdapi/v1/options", { sd_model_checkpoint: "nope" }),
    post("png-info", "/sdapi/v1/png-info", { image }),
  ];
}
