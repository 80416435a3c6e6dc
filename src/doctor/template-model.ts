import type { InputLook, TemplateLook } from "../templates/look-at-templates.ts";
import { critical, type Finding, ok, warning } from "./check.ts";
import { inspectWeights } from "./safetensors.ts";
import type { TemplateEngine } from "./template-engine.ts";

interface Places extends Pick<TemplateEngine, "file" | "modelsDir" | "mergedDirs"> {
  /** Nothing may be downloaded. */
  readonly offline: boolean;
}

interface Trouble {
  readonly input: InputLook;
  readonly text: string;
  readonly fix: string;
}

/** What a job of the template would run on, and what is in its way. */
export async function modelFinding(look: TemplateLook, places: Places): Promise<Finding> {
  const { name, merged, inputs } = look;
  const troubles = (await Promise.all(inputs.map((input) => troubleWith(input, places)))).filter((one) => one !== undefined);
  const toDownload = inputs.filter(({ state }) => state === "to-download" && !places.offline).map(({ source }) => source);
  const parts = [wordsFor(look), ...troubles.map(({ text }) => text), ...(toDownload.length > 0 ? [`to be downloaded: ${toDownload.join(", ")}`] : [])];
  const message = parts.join("; ");
  const facts = { merged: merged.type === "found" ? merged.path : null, toDownload };
  const [first] = troubles;
  if (first) return (troubles.some(({ input }) => input.kind === "checkpoint") ? critical : warning)(message, first.fix, facts);
  const out = places.mergedDirs.find((dir) => merged.type === "unused" && merged.path.startsWith(`${dir}/`)) ?? places.mergedDirs[0];
  const fix = `fettle merge ${places.file} --only ${name}${out === undefined ? "" : ` --out ${out}`}`;
  return merged.type === "unused" || (look.isSum && merged.type === "none") ? warning(message, fix, facts) : ok(message, facts);
}

function wordsFor({ merged, isPlain, isSum, inputs }: TemplateLook): string {
  if (merged.type === "found") return `merged: ${merged.path}`;
  const loras = inputs.filter(({ kind }) => kind === "lora").length;
  const instead = loras === 0 ? "it runs on its checkpoint" : `${loras} LoRA${loras === 1 ? " is" : "s are"} put on at run time`;
  if (merged.type === "unused") return `${merged.path} is not used: ${merged.reason}; ${instead}`;
  return isPlain ? "nothing to merge" : `not merged: ${instead}${isSum ? ", without what its sum adds" : ""}`;
}

async function troubleWith(input: InputLook, { file, modelsDir, offline }: Places): Promise<Trouble | undefined> {
  const { kind, source, state, path } = input;
  const lost = kind === "checkpoint" ? "there is no image without it" : "it is left out";
  const what = kind === "checkpoint" ? "checkpoint" : kind === "lora" ? "LoRA" : "VAE";
  if (state === "missing")
    return { input, text: `its ${what} ${source} is not there: ${lost}`, fix: `Put ${source} beside ${file} or into ${modelsDir}, or correct the recipe.` };
  if (state === "to-download")
    return offline
      ? { input, text: `its ${what} ${source} is not there and HF_HUB_OFFLINE forbids its download: ${lost}`, fix: "Unset HF_HUB_OFFLINE for the first start." }
      : undefined;
  const weights = path?.endsWith(".safetensors") ? await inspectWeights(path) : undefined;
  if (weights?.type !== "broken" && weights?.type !== "unreadable") return undefined;
  return { input, text: `its ${what} ${source} cannot be used (${weights.reason}): ${lost}`, fix: `Put a whole file in the place of ${path}.` };
}
