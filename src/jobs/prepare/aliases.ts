import { type Body, expected, type Invalid } from "./invalid.ts";
import { samplingOf } from "./schedulers.ts";

/** A name of other APIs for one of A1111's fields. `read` gives undefined when the value cannot be one. */
interface Alias {
  readonly target: string;
  readonly what: string;
  read(value: unknown): unknown;
}

const wholeNumber = (min: number) => ({
  what: min === 0 ? "a whole number" : `a whole number from ${min} on`,
  read: (value: unknown) => {
    const number = typeof value === "string" && /^\d{1,9}$/.test(value) ? Number(value) : value;
    return Number.isSafeInteger(number) && (number as number) >= min ? number : undefined;
  },
});
const anyNumber = {
  what: "a number",
  read: (value: unknown) => {
    const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    return typeof number === "number" && Number.isFinite(number) ? number : undefined;
  },
};
const fraction = {
  what: "a number from 0 to 1",
  read: (value: unknown) => {
    const number = anyNumber.read(value);
    return number !== undefined && number >= 0 && number <= 1 ? number : undefined;
  },
};
const text = { what: "text", read: (value: unknown) => (typeof value === "string" ? value : undefined) };
const image = { what: "an image as URL, data URI or base64", read: text.read };
const images = {
  what: "an image, or a list of images, as URL, data URI or base64",
  read: (value: unknown) => {
    const list = Array.isArray(value) ? (value as readonly unknown[]) : [value];
    return list.length > 0 && list.every((one) => typeof one === "string") ? list : undefined;
  },
};

const names = (list: string, alias: Alias): readonly (readonly [string, Alias])[] => list.split(" ").map((name) => [name, alias] as const);

/**
 * Where two aliases of one field differ, the one further up wins. `num_images_per_prompt` is diffusers' word for a batch denoised at
 * once, and worker-sdxl hands its `num_images` to it: batch_size. `n` and `num_outputs` only say how many, so they must not decide what
 * fits into memory: n_iter. The seeds are the same either way.
 */
const aliases: ReadonlyMap<string, Alias> = new Map([
  ...names("num_inference_steps num_steps inference_steps", { target: "steps", ...wholeNumber(1) }),
  ...names("guidance_scale cfg", { target: "cfg_scale", ...anyNumber }),
  ...names("num_images_per_prompt num_images", { target: "batch_size", ...wholeNumber(1) }),
  ...names("num_outputs n", { target: "n_iter", ...wholeNumber(1) }),
  ...names("sampler", { target: "sampler_name", ...text }),
  ...names("negative neg_prompt", { target: "negative_prompt", ...text }),
  ...names("image_url init_image_url image init_image", { target: "init_images", ...images }),
  ...names("mask_image mask_url", { target: "mask", ...image }),
  ...names("strength prompt_strength denoise", { target: "denoising_strength", ...fraction }),
]);

export interface Translated {
  readonly type: "translated";
  /** The very object that came, when there was nothing to do. */
  readonly body: Body;
  readonly warnings: readonly string[];
  /** The field of the caller's that each field came from, for messages. */
  readonly origins: ReadonlyMap<string, string>;
}

/** Puts A1111's names in place of aliases. A field that is there under A1111's name stays as it is. */
export function translateAliases(input: Body, at: string): Translated | Invalid {
  const body: Record<string, unknown> = { ...input };
  const warnings: string[] = [];
  const origins = new Map<string, string>();
  const put = (target: string, value: unknown, alias: string) => {
    const there = body[target];
    if (there === undefined || there === null) {
      body[target] = value;
      origins.set(target, alias);
    } else if (!isSame(there, value)) {
      warnings.push(`${at}.${alias} differs from ${at}.${origins.get(target) ?? target}, which is used.`);
    }
  };
  for (const [name, { target, what, read }] of aliases) {
    if (!Object.hasOwn(input, name)) continue;
    delete body[name];
    const given = input[name];
    if (given === null || given === undefined) continue;
    const value = read(given);
    if (value === undefined) return expected(`${at}.${name}`, what, given);
    put(target, value, name);
  }
  const fault = translateSize(body, at, put);
  if (fault) return fault;
  translateScheduler(body, put);
  const isUntouched = Object.keys(body).length === Object.keys(input).length && Object.keys(body).every((key) => body[key] === input[key]);
  return { type: "translated", body: isUntouched ? input : body, warnings, origins };
}

/** Shallow, because images are long. */
function isSame(one: unknown, other: unknown): boolean {
  if (!Array.isArray(one) || !Array.isArray(other)) return one === other;
  return one.length === other.length && one.every((item, index) => item === other[index]);
}

type Put = (target: string, value: unknown, alias: string) => void;

function translateSize(body: Record<string, unknown>, at: string, put: Put): Invalid | undefined {
  const { size } = body;
  if (size === undefined) return undefined;
  delete body["size"];
  if (size === null) return undefined;
  const match = typeof size === "string" ? /^\s*(\d{1,5})\s*[xX×*]\s*(\d{1,5})\s*$/.exec(size) : null;
  if (!match) return expected(`${at}.size`, 'text such as "1024x768"', size);
  put("width", Number(match[1]), "size");
  put("height", Number(match[2]), "size");
  return undefined;
}

/** `scheduler` is A1111's word for the schedule and diffusers' for the sampler; the value tells which is meant. */
function translateScheduler(body: Record<string, unknown>, put: Put): void {
  const { scheduler } = body;
  const sampling = typeof scheduler === "string" ? samplingOf(scheduler) : undefined;
  if (!sampling) return;
  delete body["scheduler"];
  put("sampler_name", sampling.sampler_name, "scheduler");
  if (body["sampler_name"] === sampling.sampler_name && sampling.scheduler !== undefined) body["scheduler"] = sampling.scheduler;
}
