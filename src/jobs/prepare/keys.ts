import { suggest } from "../../util/suggest.ts";
import type { Body } from "./invalid.ts";

// The fields of A1111 v1.10.1's request models, in their order; the bundled engine has them too (a test compares them).
const both = `prompt negative_prompt styles seed subseed subseed_strength seed_resize_from_h seed_resize_from_w sampler_name scheduler
  batch_size n_iter steps cfg_scale width height restore_faces tiling do_not_save_samples do_not_save_grid eta denoising_strength
  s_min_uncond s_churn s_tmax s_tmin s_noise override_settings override_settings_restore_afterwards refiner_checkpoint refiner_switch_at
  disable_extra_networks firstpass_image comments force_task_id sampler_index script_name script_args send_images save_images
  alwayson_scripts infotext`.split(/\s+/);
const txt2imgOnly = `enable_hr firstphase_width firstphase_height hr_scale hr_upscaler hr_second_pass_steps hr_resize_x hr_resize_y
  hr_checkpoint_name hr_sampler_name hr_scheduler hr_prompt hr_negative_prompt`.split(/\s+/);
const img2imgOnly = `init_images resize_mode image_cfg_scale mask mask_blur_x mask_blur_y mask_blur mask_round inpainting_fill
  inpaint_full_res inpaint_full_res_padding inpainting_mask_invert initial_noise_multiplier latent_mask include_init_images`.split(/\s+/);

export const txt2imgKeys: ReadonlySet<string> = new Set([...both, ...txt2imgOnly]);
export const img2imgKeys: ReadonlySet<string> = new Set([...both, ...img2imgOnly]);
const anyKeys = new Set([...txt2imgKeys, ...img2imgKeys]);

/** What Forge and its kin add; they run as kind `a1111`, and A1111 itself ignores it. */
const forkKeys = new Set(["distilled_cfg_scale", "hr_cfg", "hr_distilled_cfg", "hr_additional_modules"]);

/** What the bundled engine has beyond A1111. */
export const bundledKeys: ReadonlySet<string> = new Set(["fettle_vae_dtype", "fettle_template"]);

/** What the built-in workflows for ComfyUI are filled with, and what means nothing there without harm. */
const comfyuiKeys: ReadonlySet<string> = new Set(
  `prompt negative_prompt seed steps cfg_scale width height batch_size n_iter denoising_strength sampler_name sampler_index scheduler
  init_images mask override_settings checkpoint model sd_model_checkpoint images comfy_org_api_key api_key_comfy_org send_images save_images
  do_not_save_samples do_not_save_grid override_settings_restore_afterwards force_task_id comments infotext`.split(/\s+/),
);

/** Names of other APIs that mean one of A1111's options; too unlike in their values to be mapped. */
const meant: Readonly<Record<string, string>> = {
  model: "override_settings.sd_model_checkpoint",
  model_id: "override_settings.sd_model_checkpoint",
  checkpoint: "override_settings.sd_model_checkpoint",
  sd_model_checkpoint: "override_settings.sd_model_checkpoint",
  vae: "override_settings.sd_vae",
  clip_skip: "override_settings.CLIP_stop_at_last_layers",
  loras: "<lora:NAME:1> in the prompt",
};

export interface UnknownKey {
  readonly key: string;
  readonly warning: string;
}

/** Top-level keys that the call ignores without a word, each with the name that was probably meant. */
export function findUnknownKeys(body: Body, { call, kind, at }: { call: "txt2img" | "img2img"; kind: string; at: string }): readonly UnknownKey[] {
  if (kind === "comfyui") return findUnknownToComfyui(body, at);
  const known = call === "txt2img" ? txt2imgKeys : img2imgKeys;
  return Object.keys(body).flatMap((key) => {
    if (known.has(key) || (kind === "a1111" ? forkKeys : bundledKeys).has(key)) return [];
    const shown = `${at}.${key.length > 60 ? `${key.slice(0, 60)}…` : key}`;
    if (anyKeys.has(key)) return [{ key, warning: `${shown} belongs to ${call === "txt2img" ? "img2img" : "txt2img"}; ${call} ignores it.` }];
    const near = Object.hasOwn(meant, key) ? meant[key] : key.length <= 60 ? suggest(key, known) : undefined;
    return [{ key, warning: `${shown} is no field of A1111's ${call}, so the engine ignores it.${near === undefined ? "" : ` Did you mean ${near}?`}` }];
  });
}

function findUnknownToComfyui(body: Body, at: string): readonly UnknownKey[] {
  return Object.keys(body).flatMap((key) => {
    if (comfyuiKeys.has(key)) return [];
    const shown = `${at}.${key.length > 60 ? `${key.slice(0, 60)}…` : key}`;
    const near = key.length <= 60 && !anyKeys.has(key) ? suggest(key, comfyuiKeys) : undefined;
    const hint = near === undefined ? " A workflow of your own can have it." : ` Did you mean ${near}?`;
    return [{ key, warning: `${shown} is not used by the built-in workflow for ComfyUI.${hint}` }];
  });
}
