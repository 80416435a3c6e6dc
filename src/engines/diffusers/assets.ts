// The bundled Python engine as text, so that it travels inside the binary. Only `start`, `generate` and the like load this file;
// a test checks that every file of helper/ is in the table.
import adapters from "./helper/adapters.py" with { type: "text" };
import api from "./helper/api.py" with { type: "text" };
import argumentsFile from "./helper/arguments.py" with { type: "text" };
import batch from "./helper/batch.py" with { type: "text" };
import checkpoints from "./helper/checkpoints.py" with { type: "text" };
import clipVocabulary from "./helper/clip_vocabulary.py" with { type: "text" };
import core from "./helper/core.py" with { type: "text" };
import counters from "./helper/counters.py" with { type: "text" };
import delivery from "./helper/delivery.py" with { type: "text" };
import description from "./helper/description.py" with { type: "text" };
import deviceThread from "./helper/device_thread.py" with { type: "text" };
import engine from "./helper/engine.py" with { type: "text" };
import errors from "./helper/errors.py" with { type: "text" };
import generation from "./helper/generation.py" with { type: "text" };
import infotext from "./helper/infotext.py" with { type: "text" };
import inpainting from "./helper/inpainting.py" with { type: "text" };
import latents from "./helper/latents.py" with { type: "text" };
import ldmLayout from "./helper/ldm_layout.py" with { type: "text" };
import listings from "./helper/listings.py" with { type: "text" };
import loader from "./helper/loader.py" with { type: "text" };
import modelCache from "./helper/model_cache.py" with { type: "text" };
import options from "./helper/options.py" with { type: "text" };
import passes from "./helper/passes.py" with { type: "text" };
import pictures from "./helper/pictures.py" with { type: "text" };
import prompt from "./helper/prompt.py" with { type: "text" };
import samplers from "./helper/samplers.py" with { type: "text" };
import schema from "./helper/schema.py" with { type: "text" };
import singleFile from "./helper/single_file.py" with { type: "text" };
import task from "./helper/task.py" with { type: "text" };
import templateModels from "./helper/template_models.py" with { type: "text" };
import templates from "./helper/templates.py" with { type: "text" };
import tinyLayout from "./helper/tiny_layout.py" with { type: "text" };
import tinyModel from "./helper/tiny_model.py" with { type: "text" };
import vae from "./helper/vae.py" with { type: "text" };
import waits from "./helper/waits.py" with { type: "text" };
import clipMerges from "./helper/clip_merges.txt" with { type: "text" };
import requirements from "./helper/requirements.txt" with { type: "text" };

/** File name → text: all of helper/. */
export const assets: Readonly<Record<string, string>> = {
  "adapters.py": adapters,
  "api.py": api,
  "arguments.py": argumentsFile,
  "batch.py": batch,
  "checkpoints.py": checkpoints,
  "clip_vocabulary.py": clipVocabulary,
  "core.py": core,
  "counters.py": counters,
  "delivery.py": delivery,
  "description.py": description,
  "device_thread.py": deviceThread,
  "engine.py": engine,
  "errors.py": errors,
  "generation.py": generation,
  "infotext.py": infotext,
  "inpainting.py": inpainting,
  "latents.py": latents,
  "ldm_layout.py": ldmLayout,
  "listings.py": listings,
  "loader.py": loader,
  "model_cache.py": modelCache,
  "options.py": options,
  "passes.py": passes,
  "pictures.py": pictures,
  "prompt.py": prompt,
  "samplers.py": samplers,
  "schema.py": schema,
  "single_file.py": singleFile,
  "task.py": task,
  "template_models.py": templateModels,
  "templates.py": templates,
  "tiny_layout.py": tinyLayout,
  "tiny_model.py": tinyModel,
  "vae.py": vae,
  "waits.py": waits,
  "clip_merges.txt": clipMerges,
  "requirements.txt": requirements,
};
