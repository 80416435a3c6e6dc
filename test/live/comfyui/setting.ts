import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Fettle, startFettle } from "../fettle.ts";
import type { Target } from "./target.ts";

export const engineName = "comfyui";

export interface SettingWish {
  readonly copies?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Of ComfyUI as profile comfyui has it; by default the target. */
  readonly url?: string;
  readonly jobs?: Readonly<Record<string, unknown>>;
  /** Another one than dist/fettle. */
  readonly binary?: string;
}

/** fettle with the real engine by profile comfyui, jobs over HTTP and, where the environment says so, from RunPod. */
export async function startWithComfy(target: Target, { copies = 1, env = {}, url, jobs = {}, binary }: SettingWish = {}): Promise<Fettle> {
  const running = url ?? (target.type === "running" ? target.url : undefined);
  const engine = running === undefined && target.type === "launch" ? launched(target, copies) : {};
  const config = { extends: "comfyui", engines: { [engineName]: engine }, sources: { http: { port: 0, concurrency: copies } }, jobs, stop: { budget: "20s" } };
  return await startFettle({ config, env, args: running === undefined ? [] : ["--engine-url", running], ...(binary !== undefined && { program: binary }) });
}

/** Nothing is written into ComfyUI's own folder. */
function launched({ directory, python, args, models, data }: Extract<Target, { type: "launch" }>, copies: number): Readonly<Record<string, unknown>> {
  const folders = ["output", "input"].map((name) => join(data, name));
  for (const folder of folders) mkdirSync(folder, { recursive: true });
  const [output = "", input = ""] = folders;
  return {
    directory,
    python,
    port: 0,
    args: ["--disable-auto-launch", "--output-directory", output, "--input-directory", input, ...args],
    models,
    instanceDir: join(data, "instances"),
    env: { HF_HUB_OFFLINE: "1", OMP_NUM_THREADS: process.env["OMP_NUM_THREADS"] ?? "1" },
    ...(copies > 1 && { replicas: copies }),
  };
}

/** A number that no other job of this run has: the same workflow twice is served from ComfyUI's cache. */
let next = Math.floor(Math.random() * 0xffff);
const fresh = () => (next = (next + 1) & 0xffffff);

/** Needs no checkpoint: queue, socket, history and download, 10 to 25 ms of ComfyUI's time. */
export function noOp(color = fresh()) {
  return {
    "1": { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color } },
    "2": { class_type: "ImageInvert", inputs: { image: ["1", 0] } },
    "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "live/no-op" } },
  };
}

/** A1111's names on the built-in workflow. */
export const textJob = (more: Readonly<Record<string, unknown>> = {}) => ({
  prompt: "a castle on a hill",
  steps: 4,
  width: 64,
  height: 64,
  seed: fresh(),
  ...more,
});

/**
 * The graph that worker-comfyui publishes as its example, node for node and link for link, with another checkpoint, text and size.
 * It names Flux's nodes, and an SD 1.5 model takes them too.
 */
export function publishedExample(checkpoint: string) {
  const text = (words: string, title: string) => ({ inputs: { text: words, clip: ["30", 1] }, class_type: "CLIPTextEncode", _meta: { title } });
  return {
    "6": text("a lighthouse in a storm", "CLIP Text Encode (Positive Prompt)"),
    "8": { inputs: { samples: ["31", 0], vae: ["30", 2] }, class_type: "VAEDecode", _meta: { title: "VAE Decode" } },
    "9": { inputs: { filename_prefix: "ComfyUI", images: ["8", 0] }, class_type: "SaveImage", _meta: { title: "Save Image" } },
    "27": { inputs: { width: 64, height: 64, batch_size: 1 }, class_type: "EmptySD3LatentImage", _meta: { title: "EmptySD3LatentImage" } },
    "30": { inputs: { ckpt_name: checkpoint }, class_type: "CheckpointLoaderSimple", _meta: { title: "Load Checkpoint" } },
    "31": {
      inputs: {
        seed: 150959564782347,
        steps: 4,
        cfg: 1,
        sampler_name: "euler",
        scheduler: "simple",
        denoise: 1,
        model: ["30", 0],
        positive: ["35", 0],
        negative: ["33", 0],
        latent_image: ["27", 0],
      },
      class_type: "KSampler",
      _meta: { title: "KSampler" },
    },
    "33": text("", "CLIP Text Encode (Negative Prompt)"),
    "35": { inputs: { guidance: 3.5, conditioning: ["6", 0] }, class_type: "FluxGuidance", _meta: { title: "FluxGuidance" } },
  };
}

export async function urlsOf(fettle: Fettle): Promise<string[]> {
  return (await fettle.snapshot()).engines.map(({ url }) => url);
}

/** Ids of every prompt that the server has ended. */
export async function historyOf(url: string): Promise<string[]> {
  const response = await fetch(`${url}/history?max_items=100000`);
  return Object.keys((await response.json()) as Record<string, unknown>);
}
