import { type Body, expected, type Invalid } from "./invalid.ts";
import { workerSdxlSchedulers } from "./schedulers.ts";

// The input of RunPod's worker-sdxl. Most of its names are diffusers' and mean nothing by themselves; its own are these:
const ownNames = ["refiner_inference_steps", "high_noise_frac"];
const allNames = new Set(
  `prompt negative_prompt height width seed scheduler num_inference_steps refiner_inference_steps guidance_scale strength
  image_url num_images high_noise_frac`.split(/\s+/),
);

/**
 * Whether an input was written for worker-sdxl, whose callers expect its answer `{images, image_url, seed}`: all its names are that
 * worker's, and one is its alone, or the scheduler is named as only that worker does (`DDIM` is A1111's too). An input of diffusers'
 * names without such a mark is A1111's with aliases, because that is what the samples of worker-a1111 look like.
 */
export function isWorkerSdxl(input: Body): boolean {
  const keys = Object.keys(input);
  if (!keys.every((key) => allNames.has(key))) return false;
  const { scheduler } = input;
  return ownNames.some((name) => keys.includes(name)) || (typeof scheduler === "string" && scheduler !== "DDIM" && workerSdxlSchedulers.has(scheduler));
}

export interface FromWorkerSdxl {
  readonly type: "translated";
  /** A1111's names, and diffusers' where both mean the same; `translateAliases` does the rest. */
  readonly body: Body;
  readonly warnings: readonly string[];
}

/** That worker's defaults and limits, on an engine without a refiner of its own. */
export function fromWorkerSdxl(input: Body): FromWorkerSdxl | Invalid {
  const present = Object.fromEntries(Object.entries(input).filter(([, value]) => value !== null));
  const {
    scheduler = "DDIM",
    num_images: images = 1,
    refiner_inference_steps: refinerSteps,
    high_noise_frac: noise,
    num_inference_steps: steps,
    ...rest
  } = present;
  const sampling = typeof scheduler === "string" ? workerSdxlSchedulers.get(scheduler) : undefined;
  if (!sampling) return expected("input.scheduler", `one of ${[...workerSdxlSchedulers.keys()].join(", ")}`, scheduler);
  if (images !== 1 && images !== 2) return expected("input.num_images", "1 or 2", images);
  const { image_url: image, prompt } = rest;
  if (image === undefined && typeof prompt !== "string") return expected("input.prompt", "text", prompt ?? null);
  const sampled = "sampler_name" in rest ? rest : { ...rest, ...sampling };
  if (image !== undefined) {
    // That worker runs its refiner alone here, at the picture's own size.
    const { width: _width, height: _height, ...others } = sampled;
    const usual = { num_images: images, num_inference_steps: refinerSteps ?? 50, guidance_scale: 5, strength: 0.3 };
    return { type: "translated", body: withUsual(others, usual), warnings: [] };
  }
  const ignored = [...(refinerSteps === undefined ? [] : ["refiner_inference_steps"]), ...(noise === undefined ? [] : ["high_noise_frac"])];
  const { strength: _strength, ...others } = sampled;
  return {
    type: "translated",
    body: withUsual(others, { num_images: images, num_inference_steps: steps ?? 25, guidance_scale: 7.5, width: 1024, height: 1024 }),
    warnings: ignored.map((name) => `input.${name} is ignored: the engine runs no refiner after the base model.`),
  };
}

/** A1111's names for what that worker has values for; whoever writes them means them. */
const twins: Readonly<Record<string, string>> = {
  num_inference_steps: "steps",
  guidance_scale: "cfg_scale",
  strength: "denoising_strength",
  num_images: "batch_size",
};

function withUsual(body: Body, usual: Body): Body {
  const missing = Object.entries(usual).filter(([name]) => !(name in body) && !((twins[name] ?? name) in body));
  return { ...body, ...Object.fromEntries(missing) };
}
