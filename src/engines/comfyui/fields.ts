import { type Failed } from "./failure.ts";
import { invalid } from "./read-input.ts";

/** A1111's names, read once: what a built-in workflow is filled with. */
export interface Fields {
  readonly prompt: string;
  readonly negative: string;
  readonly seed: number;
  readonly steps: number;
  readonly cfg: number;
  readonly width: number;
  readonly height: number;
  readonly batch: number;
  readonly denoise: number;
  readonly checkpoint: string | undefined;
  readonly vae: string | undefined;
  readonly sampler: unknown;
  readonly scheduler: unknown;
  readonly image: string | undefined;
  readonly mask: string | undefined;
  readonly loras: readonly { readonly name: string; readonly weight: number }[];
}

/** Sides in pixels; the same bound as for A1111. */
const longestSide = 16_384;
/** ComfyUI takes 64 bits, JSON numbers keep 53 of them. */
const seedSpan = 2 ** 32;

interface Defaults {
  readonly size: number;
  readonly steps: number;
  readonly cfg: number;
}

export type ReadFields = { readonly type: "fields"; readonly fields: Fields } | Failed;

/** `checkpoint` is read before the rest, because the usual size depends on it. */
export function checkpointOf(input: Readonly<Record<string, unknown>>): string | undefined {
  const settings = input["override_settings"];
  const own = isObject(settings) ? settings["sd_model_checkpoint"] : undefined;
  for (const value of [input["checkpoint"], input["model"], input["sd_model_checkpoint"], own]) if (typeof value === "string" && value !== "") return value;
  return undefined;
}

export function readFields(input: Readonly<Record<string, unknown>>, usual: Defaults): ReadFields {
  const faults: Failed[] = [];
  const number = (field: string, otherwise: number, { min, max, whole = true }: { min: number; max: number; whole?: boolean }): number => {
    const value = input[field];
    if (value === undefined || value === null) return otherwise;
    const parsed = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    if (typeof parsed !== "number" || !Number.isFinite(parsed) || (whole && !Number.isInteger(parsed)) || parsed < min || parsed > max) {
      faults.push(invalid(field, `expected ${whole ? "a whole number" : "a number"} from ${min} to ${max}, not ${JSON.stringify(value)?.slice(0, 60)}`));
      return otherwise;
    }
    return parsed;
  };
  const text = (field: string): string => {
    const value = input[field];
    if (value === undefined || value === null) return "";
    if (typeof value !== "string") faults.push(invalid(field, "expected a text"));
    return typeof value === "string" ? value : "";
  };
  const seed = number("seed", -1, { min: -1, max: Number.MAX_SAFE_INTEGER });
  const settings = input["override_settings"];
  const vae = isObject(settings) && typeof settings["sd_vae"] === "string" ? settings["sd_vae"] : undefined;
  const { prompt, loras } = readLoras(text("prompt"));
  const fields: Fields = {
    prompt,
    negative: text("negative_prompt"),
    seed: seed === -1 ? Math.floor(Math.random() * seedSpan) : seed,
    steps: number("steps", usual.steps, { min: 1, max: 10_000 }),
    cfg: number("cfg_scale", usual.cfg, { min: 0, max: 100, whole: false }),
    width: eights(number("width", usual.size, { min: 16, max: longestSide })),
    height: eights(number("height", usual.size, { min: 16, max: longestSide })),
    batch: number("batch_size", 1, { min: 1, max: 64 }) * number("n_iter", 1, { min: 1, max: 64 }),
    denoise: number("denoising_strength", 0.75, { min: 0, max: 1, whole: false }),
    checkpoint: checkpointOf(input),
    vae: vae === "Automatic" || vae === "None" ? undefined : vae,
    sampler: input["sampler_name"] ?? input["sampler_index"],
    scheduler: input["scheduler"],
    image: firstImage(input["init_images"]),
    mask: typeof input["mask"] === "string" ? input["mask"] : undefined,
    loras,
  };
  return faults[0] ?? { type: "fields", fields };
}

/** Latents are eighths of pixels. */
function eights(pixels: number): number {
  return Math.max(16, Math.round(pixels / 8) * 8);
}

function firstImage(images: unknown): string | undefined {
  const first: unknown = Array.isArray(images) ? images[0] : undefined;
  return typeof first === "string" && first !== "" ? first : undefined;
}

/** A1111's `<lora:name:0.8>` in a prompt. */
function readLoras(prompt: string): { prompt: string; loras: { name: string; weight: number }[] } {
  const loras: { name: string; weight: number }[] = [];
  const rest = prompt.replace(/<lora:([^:>]+)(?::(-?[\d.]+))?[^>]*>/g, (_, name: string, weight: string | undefined) => {
    loras.push({ name: name.trim(), weight: weight === undefined || Number.isNaN(Number(weight)) ? 1 : Number(weight) });
    return "";
  });
  return { prompt: loras.length > 0 ? rest.trim() : prompt, loras };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
