type Parameters = Readonly<Record<string, unknown>>;

/** `info` as A1111's callers read it: text that holds JSON, with a line of parameters for each image. A batch has one seed here. */
export function infoOf(parameters: Parameters, images: number): string {
  const { prompt, negative_prompt: negative, seed, model, ...rest } = parameters;
  const each = <T>(value: T): T[] => Array<T>(images).fill(value);
  return JSON.stringify({
    ...rest,
    prompt: textOf(prompt),
    all_prompts: each(textOf(prompt)),
    negative_prompt: textOf(negative),
    all_negative_prompts: each(textOf(negative)),
    ...(seed !== undefined && { seed, all_seeds: each(seed) }),
    ...(model !== undefined && { sd_model_name: model }),
    infotexts: each(infotext(parameters)),
  });
}

/** In the form that the webui writes into its images and reads again. */
function infotext({
  prompt,
  negative_prompt: negative,
  steps,
  sampler_name: sampler,
  scheduler,
  cfg_scale: cfg,
  seed,
  width,
  height,
  model,
}: Parameters): string {
  const fields = Object.entries({
    Steps: steps,
    Sampler: sampler,
    "Schedule type": scheduler,
    "CFG scale": cfg,
    Seed: seed,
    Size: width === undefined || height === undefined ? undefined : `${String(width)}x${String(height)}`,
    Model: typeof model === "string" ? model.replace(/\.(safetensors|ckpt|sft|pt)$/i, "") : undefined,
  }).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${String(value)}`]));
  return [textOf(prompt), textOf(negative) && `Negative prompt: ${textOf(negative)}`, fields.join(", ")].filter(Boolean).join("\n");
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");
