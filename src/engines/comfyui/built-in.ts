import type { FoundWorkflow } from "./find-workflow.ts";
import type { Failed } from "./failure.ts";
import { checkpointOf, type Fields, readFields } from "./fields.ts";
import { choicesOf, type ObjectInfo } from "./object-info.ts";
import { invalid, type JobImage } from "./read-input.ts";
import { readSampler } from "./samplers.ts";
import type { Workflow, WorkflowNode } from "./workflow.ts";

/** The families that the built-in workflows know, by what their files are usually called. */
type Family = "sd15" | "sdxl" | "flux";

const usual: Readonly<Record<Family, { readonly size: number; readonly steps: number; readonly cfg: number }>> = {
  sd15: { size: 512, steps: 20, cfg: 7 },
  sdxl: { size: 1024, steps: 25, cfg: 7 },
  // Guidance is distilled into it: cfg stays 1, cfg_scale becomes FluxGuidance.
  flux: { size: 1024, steps: 20, cfg: 3.5 },
};

/** Whose lists say what there is to choose from. */
export const builtInClasses = ["CheckpointLoaderSimple", "UNETLoader", "DualCLIPLoader", "VAELoader", "LoraLoader", "KSampler"] as const;

interface Model {
  readonly family: Family;
  /** A checkpoint with everything in it, or a bare diffusion model. */
  readonly loader: "checkpoint" | "unet";
  readonly name: string;
}

/** Text to image, image to image and inpainting from A1111's names, on a checkpoint that the server really has. */
export function builtIn(
  input: Readonly<Record<string, unknown>>,
  info: ObjectInfo,
  { checkpoint }: { checkpoint: string | undefined },
): FoundWorkflow | Failed {
  const model = chooseModel(checkpointOf(input) ?? checkpoint, info);
  if ("type" in model) return model;
  const read = readFields(input, usual[model.family]);
  if (read.type === "failed") return read;
  const { fields } = read;
  const images = [imageOf("init.png", fields.image), imageOf("mask.png", fields.mask)].flat();
  const workflow = new Builder(fields, model, info).build();
  if ("type" in workflow) return workflow as Failed;
  const { prompt, negative, seed, steps, cfg, width, height, batch } = fields;
  const parameters = { prompt, negative_prompt: negative, seed, steps, cfg_scale: cfg, width, height, batch_size: batch, model: model.name };
  return { type: "found", workflow: workflow as Workflow, images, parameters };
}

function chooseModel(wanted: string | undefined, info: ObjectInfo): Model | Failed {
  const checkpoints = choicesOf(info, "CheckpointLoaderSimple", "ckpt_name");
  const unets = choicesOf(info, "UNETLoader", "unet_name");
  if (wanted !== undefined) {
    const name = findName(wanted, checkpoints);
    if (name !== undefined) return { family: familyOf(name), loader: "checkpoint", name };
    const unet = findName(wanted, unets);
    if (unet !== undefined) return { family: "flux", loader: "unet", name: unet };
    const known = [...checkpoints, ...unets].slice(0, 10).map((one) => `"${one}"`);
    return invalid("model", `the server has no model "${wanted.slice(0, 120)}"`, {
      hint: known.length > 0 ? `It has ${known.join(", ")}.` : "It has none at all.",
    });
  }
  // Refiners and video models make no picture from a prompt alone.
  const first = checkpoints.find((name) => !/refiner|inpaint|svd|video|stage_?b/i.test(name)) ?? checkpoints[0];
  if (first !== undefined) return { family: familyOf(first), loader: "checkpoint", name: first };
  const flux = unets.find((name) => /flux/i.test(name));
  if (flux !== undefined) return { family: "flux", loader: "unet", name: flux };
  return invalid("model", "the server has no checkpoint", { hint: "Put one into models/checkpoints, or send a workflow that needs none." });
}

/** The exact name, the name without its folder or without its extension; A1111 adds a hash in brackets. */
function findName(wanted: string, known: readonly string[]): string | undefined {
  const plain = (name: string) => name.replace(/ \[[0-9a-f]+\]$/i, "").replace(/\.(safetensors|ckpt|pt|sft)$/i, "");
  const base = (name: string) => plain(name.slice(Math.max(name.lastIndexOf("/"), name.lastIndexOf("\\")) + 1));
  return known.find((name) => name === wanted) ?? known.find((name) => plain(name) === plain(wanted)) ?? known.find((name) => base(name) === base(wanted));
}

function familyOf(name: string): Family {
  if (/flux/i.test(name)) return "flux";
  return /xl|pony|illustrious|noob/i.test(name) ? "sdxl" : "sd15";
}

function imageOf(name: string, text: string | undefined): JobImage[] {
  if (text === undefined) return [];
  const base64 = text.startsWith("data:") ? text.slice(text.indexOf(",") + 1) : text;
  return [{ name, bytes: Uint8Array.from(Buffer.from(base64, "base64")), mime: "image/png" }];
}

type Output = readonly [node: string, output: number];

/** Puts nodes together; each method gives the output that the next one links to. */
class Builder {
  readonly #nodes: Record<string, WorkflowNode> = {};
  readonly #fields: Fields;
  readonly #model: Model;
  readonly #info: ObjectInfo;
  #fault: Failed | undefined;

  constructor(fields: Fields, model: Model, info: ObjectInfo) {
    this.#fields = fields;
    this.#model = model;
    this.#info = info;
  }

  build(): Workflow | Failed {
    const { prompt, negative, seed, steps, cfg, denoise, image, batch } = this.#fields;
    let { model, clip, vae } = this.#model.loader === "checkpoint" ? this.#checkpoint() : this.#parts();
    for (const { name, weight } of this.#fields.loras) ({ model, clip } = this.#lora(model, clip, name, weight));
    if (this.#fields.vae !== undefined) vae = this.#vae(this.#fields.vae);
    const isFlux = this.#model.family === "flux";
    let positive = this.#add("CLIPTextEncode", { text: prompt, clip });
    if (isFlux) positive = this.#add("FluxGuidance", { conditioning: positive, guidance: cfg });
    const against = this.#add("CLIPTextEncode", { text: isFlux ? "" : negative, clip });
    const { sampler, scheduler } = readSampler(this.#fields.sampler, this.#fields.scheduler ?? (isFlux ? "simple" : undefined), {
      samplers: choicesOf(this.#info, "KSampler", "sampler_name"),
      schedulers: choicesOf(this.#info, "KSampler", "scheduler"),
    });
    const sampled = this.#add("KSampler", {
      model,
      positive,
      negative: against,
      latent_image: image === undefined ? this.#emptyLatent(isFlux) : this.#encoded(vae, batch),
      seed,
      steps,
      cfg: isFlux ? 1 : cfg,
      sampler_name: sampler,
      scheduler,
      denoise: image === undefined ? 1 : denoise,
    });
    this.#add("SaveImage", { images: this.#add("VAEDecode", { samples: sampled, vae }), filename_prefix: "fettle" });
    return this.#fault ?? this.#nodes;
  }

  #add(className: string, inputs: Record<string, unknown>, output = 0): Output {
    const node = String(Object.keys(this.#nodes).length + 1);
    this.#nodes[node] = { class_type: className, inputs };
    return [node, output];
  }

  #checkpoint(): Record<"model" | "clip" | "vae", Output> {
    const [node] = this.#add("CheckpointLoaderSimple", { ckpt_name: this.#model.name });
    return { model: [node, 0], clip: [node, 1], vae: [node, 2] };
  }

  /** Flux in parts: the diffusion model, T5 beside CLIP-L, its autoencoder. */
  #parts(): Record<"model" | "clip" | "vae", Output> {
    const encoders = choicesOf(this.#info, "DualCLIPLoader", "clip_name1");
    const t5 = this.#needs(encoders, /t5/i, "text encoder T5 (t5xxl_fp16.safetensors)");
    const clipL = this.#needs(encoders, /clip_?l/i, "text encoder CLIP-L (clip_l.safetensors)");
    const ae = this.#needs(choicesOf(this.#info, "VAELoader", "vae_name"), /^(.*[\\/])?ae\.|flux.*vae|vae.*flux/i, "autoencoder of Flux (ae.safetensors)");
    const model = this.#add("UNETLoader", { unet_name: this.#model.name, weight_dtype: "default" });
    const clip = this.#add("DualCLIPLoader", { clip_name1: t5, clip_name2: clipL, type: "flux" });
    return { model, clip, vae: this.#add("VAELoader", { vae_name: ae }) };
  }

  #needs(names: readonly string[], pattern: RegExp, what: string): string {
    const found = names.find((name) => pattern.test(name));
    if (found === undefined) this.#fault ??= invalid("model", `the server has no ${what}, which ${this.#model.name} needs`);
    return found ?? "";
  }

  #lora(model: Output, clip: Output, name: string, weight: number): Record<"model" | "clip", Output> {
    const known = choicesOf(this.#info, "LoraLoader", "lora_name");
    const [node] = this.#add("LoraLoader", { model, clip, lora_name: findName(name, known) ?? name, strength_model: weight, strength_clip: weight });
    return { model: [node, 0], clip: [node, 1] };
  }

  #vae(name: string): Output {
    return this.#add("VAELoader", { vae_name: findName(name, choicesOf(this.#info, "VAELoader", "vae_name")) ?? name });
  }

  #emptyLatent(isFlux: boolean): Output {
    const { width, height, batch } = this.#fields;
    return this.#add(isFlux ? "EmptySD3LatentImage" : "EmptyLatentImage", { width, height, batch_size: batch });
  }

  /** The picture scaled to the wanted size, and only what the mask shows is made anew. */
  #encoded(vae: Output, batch: number): Output {
    const { width, height, mask } = this.#fields;
    const loaded = this.#add("LoadImage", { image: "init.png" });
    const scaled = this.#add("ImageScale", { image: loaded, upscale_method: "lanczos", width, height, crop: "center" });
    let latent = this.#add("VAEEncode", { pixels: scaled, vae });
    if (mask !== undefined) {
      const loadedMask = this.#add("LoadImageMask", { image: "mask.png", channel: "red" });
      latent = this.#add("SetLatentNoiseMask", { samples: latent, mask: loadedMask });
    }
    return batch === 1 ? latent : this.#add("RepeatLatentBatch", { samples: latent, amount: batch });
  }
}
