// The merge helper as text, so that it travels inside the binary; a test checks that every file of helper/ is in the table.
// The bundled engine's files beside it know the configs of SD 1.5 and SDXL and CLIP's vocabulary, which a directory made of a single file needs.
import engineCheckpoints from "../engines/diffusers/helper/checkpoints.py" with { type: "text" };
import clipMerges from "../engines/diffusers/helper/clip_merges.txt" with { type: "text" };
import clipVocabulary from "../engines/diffusers/helper/clip_vocabulary.py" with { type: "text" };
import engineSingleFile from "../engines/diffusers/helper/single_file.py" with { type: "text" };
import engineTinyModel from "../engines/diffusers/helper/tiny_model.py" with { type: "text" };
import loraAdapters from "./helper/lora_adapters.py" with { type: "text" };
import aliases from "./helper/aliases.py" with { type: "text" };
import beside from "./helper/beside.py" with { type: "text" };
import blend from "./helper/blend.py" with { type: "text" };
import blockWeights from "./helper/block_weights.py" with { type: "text" };
import clipNames from "./helper/clip_names.py" with { type: "text" };
import compute from "./helper/compute.py" with { type: "text" };
import configs from "./helper/configs.py" with { type: "text" };
import directory from "./helper/directory.py" with { type: "text" };
import done from "./helper/done.py" with { type: "text" };
import dora from "./helper/dora.py" with { type: "text" };
import estimate from "./helper/estimate.py" with { type: "text" };
import factors from "./helper/factors.py" with { type: "text" };
import halves from "./helper/halves.py" with { type: "text" };
import identity from "./helper/identity.py" with { type: "text" };
import kernel from "./helper/kernel.py" with { type: "text" };
import loraFile from "./helper/lora_file.py" with { type: "text" };
import loraNames from "./helper/lora_names.py" with { type: "text" };
import lycorisTypes from "./helper/lycoris_types.py" with { type: "text" };
import merge from "./helper/merge.py" with { type: "text" };
import model from "./helper/model.py" with { type: "text" };
import native from "./helper/native.py" with { type: "text" };
import nativeCode from "./helper/native_code.py" with { type: "text" };
import output from "./helper/output.py" with { type: "text" };
import peftSettings from "./helper/peft_settings.py" with { type: "text" };
import pickleFile from "./helper/pickle_file.py" with { type: "text" };
import plan from "./helper/plan.py" with { type: "text" };
import progress from "./helper/progress.py" with { type: "text" };
import refusal from "./helper/refusal.py" with { type: "text" };
import request from "./helper/request.py" with { type: "text" };
import safetensorsFile from "./helper/safetensors_file.py" with { type: "text" };
import session from "./helper/session.py" with { type: "text" };
import shape from "./helper/shape.py" with { type: "text" };
import shelf from "./helper/shelf.py" with { type: "text" };
import transformerConfigs from "./helper/transformer_configs.py" with { type: "text" };
import transformerFolder from "./helper/transformer_folder.py" with { type: "text" };
import transformerNames from "./helper/transformer_names.py" with { type: "text" };
import unetNames from "./helper/unet_names.py" with { type: "text" };
import vaeSwap from "./helper/vae_swap.py" with { type: "text" };
import verify from "./helper/verify.py" with { type: "text" };
import write from "./helper/write.py" with { type: "text" };

export const helperFiles: Readonly<Record<string, string>> = {
  "lora_adapters.py": loraAdapters,
  "aliases.py": aliases,
  "beside.py": beside,
  "blend.py": blend,
  "block_weights.py": blockWeights,
  "clip_names.py": clipNames,
  "compute.py": compute,
  "configs.py": configs,
  "directory.py": directory,
  "done.py": done,
  "dora.py": dora,
  "estimate.py": estimate,
  "factors.py": factors,
  "halves.py": halves,
  "identity.py": identity,
  "kernel.py": kernel,
  "lora_file.py": loraFile,
  "lora_names.py": loraNames,
  "lycoris_types.py": lycorisTypes,
  "merge.py": merge,
  "model.py": model,
  "native.py": native,
  "native_code.py": nativeCode,
  "output.py": output,
  "peft_settings.py": peftSettings,
  "pickle_file.py": pickleFile,
  "plan.py": plan,
  "progress.py": progress,
  "refusal.py": refusal,
  "request.py": request,
  "safetensors_file.py": safetensorsFile,
  "session.py": session,
  "shape.py": shape,
  "shelf.py": shelf,
  "transformer_configs.py": transformerConfigs,
  "transformer_folder.py": transformerFolder,
  "transformer_names.py": transformerNames,
  "unet_names.py": unetNames,
  "vae_swap.py": vaeSwap,
  "verify.py": verify,
  "write.py": write,
  "engine/checkpoints.py": engineCheckpoints,
  "engine/clip_merges.txt": clipMerges,
  "engine/clip_vocabulary.py": clipVocabulary,
  "engine/single_file.py": engineSingleFile,
  "engine/tiny_model.py": engineTinyModel,
};
