import { z } from "zod";
import { parseModelSource } from "../models/model-source.ts";

// A message that begins with "expected" reaches the user as it stands; see config/diagnose.ts.

const strengthText = "expected a number from -10 to 10";
const strength = z.number({ error: strengthText }).min(-10, { error: strengthText }).max(10, { error: strengthText });

const sourceText = "expected a local file, hf:OWNER/REPO/FILE@REVISION, civitai:VERSION_ID or an https URL";
export const modelSource = z
  .string({ error: sourceText })
  .min(1, { error: sourceText })
  .max(4096)
  .superRefine((text, context) => {
    const parsed = parseModelSource(text);
    if (parsed.kind === "bad") context.addIssue({ code: "custom", message: parsed.reason });
  })
  .meta({ description: "A local file (relative to the recipe), hf:OWNER/REPO/FILE@REVISION, civitai:VERSION_ID or an https URL." });

const hashText = "expected a sha256: 64 hexadecimal digits";
export const sha256 = z
  .string({ error: hashText })
  .regex(/^[0-9a-fA-F]{64}$/, { error: hashText })
  .transform((text) => text.toLowerCase())
  .meta({ description: "What comes must have it; then nobody is asked a second time." });

const model = z
  .union([modelSource, z.strictObject({ path: modelSource, sha256: sha256.optional() })], { error: `${sourceText}, or keys with values` })
  .transform((value) => (typeof value === "string" ? { path: value } : value));

const blockCounts = [12, 17, 20, 26, 61];
const blocksText = "expected 12 or 20 numbers (SDXL), 17 or 26 (SD 1.5), 61 (Flux), or block names with numbers";
const blockName = z.string().regex(/^(base|clip|t5|mid|m00|in|out|in\d\d|out\d\d|[ds]\d\d)$/i, { error: "expected BASE, IN00 to IN11, M00 or OUT00 to OUT11" });
/** A1111's `lbw=1,0,0.5,…` is a text, too. */
export const blocks = z
  .union(
    [
      z.array(strength).refine((list) => blockCounts.includes(list.length), { error: blocksText }),
      z.record(blockName, strength),
      z.string().transform((text, context) => {
        const list = text.split(",").map((one) => (one.trim() === "" ? Number.NaN : Number(one)));
        if (blockCounts.includes(list.length) && list.every((one) => Math.abs(one) <= 10)) return list;
        context.addIssue({ code: "custom", message: blocksText });
        return z.NEVER;
      }),
    ],
    { error: blocksText },
  )
  .meta({ description: "Factors for the UNet's blocks, as A1111's LoRA Block Weight and kohya's --lbws have them: a list, its text, or names with numbers." });

const lora = z
  .union(
    [
      modelSource,
      z.looseObject({
        path: modelSource,
        scale: strength.default(1).meta({ description: "Strength on all parts." }),
        unet: strength.optional().meta({ description: "Strength on the UNet; default: scale." }),
        te: strength.optional().meta({ description: "Strength on the text encoders; default: scale." }),
        te1: strength.optional().meta({ description: "Strength on the first text encoder; default: te." }),
        te2: strength.optional().meta({ description: "Strength on the second text encoder; default: te." }),
        te3: strength.optional().meta({ description: "Strength on the third text encoder; default: te." }),
        blocks: blocks.optional(),
        sha256: sha256.optional(),
      }),
    ],
    { error: `${sourceText}, or keys with values` },
  )
  .transform((value) => (typeof value === "string" ? { path: value, scale: 1 } : value))
  .meta({ id: "lora" });

export const formats = ["single", "diffusers"] as const;
export const dtypes = ["keep", "fp16", "bf16", "fp32", "fp8_e4m3fn", "fp8_e5m2"] as const;

export const template = z
  .looseObject({
    name: z.string().min(1).max(200).optional(),
    checkpoint: model.meta({ description: "The base: a checkpoint file, or a diffusers folder on this machine." }),
    loras: z.array(lora, { error: "expected a list of LoRAs" }).default([]),
    add: z
      .array(z.strictObject({ path: modelSource, weight: strength, sha256: sha256.optional() }))
      .max(20)
      .default([])
      .meta({ description: "Other checkpoints, added with these weights: base · baseWeight + Σ weight · checkpoint." }),
    baseWeight: strength.optional().meta({ description: "Of the checkpoint in such a sum; default 1." }),
    vae: model.optional().meta({ description: "A VAE that takes the place of the checkpoint's own, such as the fp16-fix one." }),
    output: z.string().min(1).max(4096).optional().meta({ description: "Default: NAME.safetensors, or the folder NAME, in the output folder." }),
    format: z.enum(formats).optional().meta({ description: "single: one file in the checkpoint's layout (default). diffusers: a folder for from_pretrained." }),
    dtype: z.enum(dtypes).optional().meta({ description: "Default keep: every tensor's own." }),
    variant: z
      .string()
      .regex(/^[\w-]{1,20}$/, { error: "expected a word such as fp16" })
      .optional()
      .meta({ description: "In a folder's file names; default: fp16 when dtype is fp16." }),
    shardBytes: z.number().int().min(1_000_000).optional().meta({ description: "A folder's component is cut into files of this size; default 10 GB." }),
    configDir: z.string().min(1).max(4096).optional().meta({
      description:
        "A diffusers folder on this machine for what a single file lacks: configs, tokenizers, and for Flux and SD3 the weights of the other components.",
    }),
    title: z.string().min(1).max(200).optional().meta({ description: "modelspec.title of the output; default: the inputs' names." }),
  })
  .meta({ id: "template" });
export type RecipeTemplate = z.output<typeof template>;

/** templates.json: templates by name, or a list of them that have names, bare or under `templates`. Keys that merging does not use are left alone. */
export const templates = z.union([z.array(template), z.record(z.string(), template)], { error: "expected templates by name, or a list of them" });

/** The keys that merging reads, for "did you mean". */
export const templateKeys = Object.keys(template.shape);
export const loraKeys = ["path", "scale", "unet", "te", "te1", "te2", "te3", "blocks", "sha256"];

/** docs/recipe.schema.json. */
export function formatRecipeSchema(): string {
  const json = z.toJSONSchema(z.union([z.object({ templates }), templates]), { io: "input", unrepresentable: "any" });
  const { $schema, ...rest } = json;
  const about = { $schema, title: "fettle recipe", description: "Templates: a checkpoint and the LoRAs to fuse into it. As JSON (templates.json) or YAML." };
  return `${JSON.stringify({ ...about, ...rest }, null, 2)}\n`;
}
