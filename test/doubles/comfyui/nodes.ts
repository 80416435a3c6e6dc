/** The few node classes that the double knows: what they say of themselves, and what they do. Facts of 0.3.64 and 0.33. */
export type Version = "0.3.64" | "0.33.0";

export interface NodeSpec {
  readonly required: Readonly<Record<string, readonly [type: string | readonly string[], settings?: Readonly<Record<string, unknown>>]>>;
  readonly outputs: readonly string[];
  readonly isOutput?: boolean;
  readonly isCustom?: boolean;
}

const size = ["INT", { default: 512, min: 16, max: 16_384, step: 8 }] as const;

export const samplers = ["euler", "euler_ancestral", "dpmpp_2m"];

export function nodeSpecs(checkpoints: readonly string[], files: readonly string[]): Readonly<Record<string, NodeSpec>> {
  return {
    EmptyImage: {
      required: {
        width: ["INT", { default: 512, min: 1, max: 16_384 }],
        height: size,
        batch_size: ["INT", { default: 1, min: 1, max: 4096 }],
        color: ["INT", { default: 0, min: 0, max: 0xffffff }],
      },
      outputs: ["IMAGE"],
    },
    ImageInvert: { required: { image: ["IMAGE"] }, outputs: ["IMAGE"] },
    ImageScale: {
      required: { image: ["IMAGE"], upscale_method: [["lanczos", "area"]], width: size, height: size, crop: [["disabled", "center"]] },
      outputs: ["IMAGE"],
    },
    SaveImage: { required: { images: ["IMAGE"], filename_prefix: ["STRING", { default: "ComfyUI" }] }, outputs: [], isOutput: true },
    PreviewImage: { required: { images: ["IMAGE"] }, outputs: [], isOutput: true },
    SaveImageWebsocket: { required: { images: ["IMAGE"] }, outputs: [], isOutput: true, isCustom: true },
    CheckpointLoaderSimple: { required: { ckpt_name: [checkpoints] }, outputs: ["MODEL", "CLIP", "VAE"] },
    CLIPTextEncode: { required: { text: ["STRING", { multiline: true }], clip: ["CLIP"] }, outputs: ["CONDITIONING"] },
    EmptyLatentImage: { required: { width: size, height: size, batch_size: ["INT", { default: 1, min: 1, max: 4096 }] }, outputs: ["LATENT"] },
    KSampler: {
      required: {
        model: ["MODEL"],
        seed: ["INT", { default: 0, min: 0, max: 2 ** 64, control_after_generate: true }],
        steps: ["INT", { default: 20, min: 1, max: 10_000 }],
        cfg: ["FLOAT", { default: 8, min: 0, max: 100 }],
        sampler_name: [samplers],
        scheduler: [["normal", "karras", "simple"]],
        positive: ["CONDITIONING"],
        negative: ["CONDITIONING"],
        latent_image: ["LATENT"],
        denoise: ["FLOAT", { default: 1, min: 0, max: 1 }],
      },
      outputs: ["LATENT"],
    },
    VAEDecode: { required: { samples: ["LATENT"], vae: ["VAE"] }, outputs: ["IMAGE"] },
    VAEEncode: { required: { pixels: ["IMAGE"], vae: ["VAE"] }, outputs: ["LATENT"] },
    LoadImage: { required: { image: [files, { image_upload: true }] }, outputs: ["IMAGE", "MASK"] },
    // What custom nodes do to a server.
    Hold: { required: { image: ["IMAGE"], blocking: ["BOOLEAN", { default: false }] }, outputs: ["IMAGE"], isCustom: true },
    Fail: { required: { image: ["IMAGE"], kind: ["STRING"], message: ["STRING"] }, outputs: ["IMAGE"], isCustom: true },
    SaveVideo: { required: { image: ["IMAGE"], filename_prefix: ["STRING"], bytes: ["INT", { default: 1000 }] }, outputs: [], isOutput: true, isCustom: true },
    ShowText: { required: { text: ["STRING"] }, outputs: [], isOutput: true, isCustom: true },
    OwnChoice: { required: { image: ["IMAGE"], choice: [["a", "b"]] }, outputs: ["IMAGE"], isCustom: true },
  };
}

/** 0.33 writes some choices as `["COMBO", {options}]`, others still as a list. */
export function describeNode(name: string, { required, outputs, isOutput = false, isCustom = false }: NodeSpec, version: Version): Record<string, unknown> {
  const inputs = Object.entries(required).map(([input, [type, settings = {}]]) => {
    const isNew = Array.isArray(type) && version === "0.33.0" && input !== "ckpt_name";
    return [input, isNew ? ["COMBO", { ...settings, options: type }] : Object.keys(settings).length > 0 ? [type, settings] : [type]];
  });
  return {
    input: { required: Object.fromEntries(inputs) },
    input_order: { required: Object.keys(required) },
    output: outputs,
    output_is_list: outputs.map(() => false),
    output_name: outputs,
    name,
    display_name: name,
    description: "",
    python_module: isCustom ? "custom_nodes.some" : "nodes",
    category: "test",
    output_node: isOutput,
  };
}
