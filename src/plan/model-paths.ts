import { basename, dirname, isAbsolute, join, relative } from "node:path";
import type { StepKind } from "./step.ts";

/**
 * The kinds of models that ComfyUI (0.3.x to 0.33) and widely used custom nodes look for, each with its folders below a folder of
 * models. `text_encoders` and `diffusion_models` were called `clip` and `unet`: both names are looked into.
 */
const folders: Readonly<Record<string, readonly string[]>> = {
  audio_encoders: ["audio_encoders"],
  checkpoints: ["checkpoints"],
  classifiers: ["classifiers"],
  clip_vision: ["clip_vision"],
  configs: ["configs"],
  controlnet: ["controlnet", "t2i_adapter"],
  diffusers: ["diffusers"],
  diffusion_models: ["diffusion_models", "unet"],
  embeddings: ["embeddings"],
  gligen: ["gligen"],
  hypernetworks: ["hypernetworks"],
  latent_upscale_models: ["latent_upscale_models"],
  loras: ["loras"],
  model_patches: ["model_patches"],
  photomaker: ["photomaker"],
  style_models: ["style_models"],
  text_encoders: ["text_encoders", "clip"],
  upscale_models: ["upscale_models"],
  vae: ["vae"],
  vae_approx: ["vae_approx"],
  // IPAdapter plus, Impact Pack (detectors and SAM)
  ipadapter: ["ipadapter"],
  sams: ["sams"],
  ultralytics: ["ultralytics"],
  ultralytics_bbox: ["ultralytics/bbox"],
  ultralytics_segm: ["ultralytics/segm"],
};

export interface ModelPaths {
  /** The file to write. */
  readonly write: string;
  readonly models?: string | undefined;
  /** Further kinds, or other folders for known ones. */
  readonly folders: Readonly<Record<string, string | readonly string[]>>;
  readonly customNodes?: string | undefined;
  /** Make the folders that are missing; that of the custom nodes is made in any case, ComfyUI ends without it. */
  readonly make: boolean;
}

/** The steps that write ComfyUI's extra_model_paths.yaml. Pure. */
export function modelPathSteps({ write, models, folders: own, customNodes, make }: ModelPaths): StepKind[] {
  const kinds = { ...folders, ...Object.fromEntries(Object.entries(own).map(([kind, folder]) => [kind, [folder].flat()])) };
  const base = models === undefined ? undefined : dirname(models);
  const inBase = (folder: string) => (base === undefined || models === undefined ? folder : `${relative(base, resolveIn(models, folder)) || "."}/`);
  const wanted = make && models !== undefined ? Object.values(kinds).flatMap((list) => list.map((folder) => resolveIn(models, folder))) : [];
  const made = [...new Set([...wanted, ...(customNodes === undefined ? [] : [customNodes])])].sort();
  const listed = Object.entries(kinds)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([kind, list]) => [kind, list.map(inBase).join("\n") + (list.length > 1 ? "\n" : "")]);
  return [
    ...(made.length > 0 ? [{ type: "directories" as const, paths: made }] : []),
    {
      type: "write",
      path: write,
      comment: "Written by fettle at each start; change the configuration instead.",
      content: {
        yaml: {
          // is_default puts the volume first, so that what ComfyUI and its Manager download goes there.
          ...(models !== undefined && { volume: { base_path: base, is_default: true, ...Object.fromEntries(listed) } }),
          // A group of its own: these nodes are loaded, and Manager goes on to install beside ComfyUI, whose Python they need.
          ...(customNodes !== undefined && { volume_nodes: { base_path: dirname(customNodes), custom_nodes: `${basename(customNodes)}/` } }),
        },
      },
    },
  ];
}

const resolveIn = (models: string, folder: string): string => (isAbsolute(folder) ? folder : join(models, folder));
