import { createHash } from "node:crypto";
import { basename } from "node:path";
import type { FetchedModel, WantedModel } from "../models/fetch-model.ts";
import { sourceId } from "../models/model-source.ts";
import { canonicalJson } from "../util/canonical-json.ts";
import type { LoraRequest, MergeRequest, OutputDtype, OutputFormat } from "./merge-request.ts";

export interface TemplateLora extends Omit<LoraRequest, "path"> {
  readonly model: WantedModel;
}

/** One merge as a recipe or flags ask for it: its inputs are sources yet. */
export interface MergeTemplate extends Pick<MergeRequest, "name" | "out" | "baseWeight" | "variant" | "shardBytes" | "configDir" | "title"> {
  readonly checkpoint: WantedModel;
  readonly loras: readonly TemplateLora[];
  readonly terms: readonly { readonly model: WantedModel; readonly weight: number }[];
  readonly vae?: WantedModel;
  readonly format: OutputFormat;
  readonly dtype: OutputDtype;
}

/** Every file that a template needs, the checkpoint first. */
export function inputsOf({ checkpoint, terms, loras, vae }: MergeTemplate): WantedModel[] {
  return [checkpoint, ...terms.map(({ model }) => model), ...loras.map(({ model }) => model), ...(vae ? [vae] : [])];
}

/** The checkpoint as it is, in the layout it has: nothing would be written but a copy. */
export const isPlain = ({ loras, terms, vae, format, dtype }: MergeTemplate): boolean =>
  loras.length === 0 && terms.length === 0 && !vae && format === "single" && dtype === "keep";

/**
 * Stands for a template's sources, strengths and settings; the output carries it, and at run time it tells whether a merged model is the
 * template's. A local file counts by its name: where it lies does not change what is made of it.
 */
export function recipeId(template: MergeTemplate): string {
  const { loras, terms, checkpoint, vae, baseWeight, format, dtype, variant, shardBytes, configDir, title } = template;
  const value = {
    version: 1,
    checkpoint: inputId(checkpoint),
    loras: loras.map(({ model, ...strengths }) => ({ ...strengths, model: inputId(model) })),
    terms: terms.map(({ model, weight }) => ({ weight, model: inputId(model) })),
    vae: vae && inputId(vae),
    baseWeight,
    format,
    dtype,
    variant,
    shardBytes,
    configDir: configDir && basename(configDir),
    title,
  };
  return createHash("sha256").update(canonicalJson(value)).digest("hex");
}

const inputId = ({ source, sha256 }: WantedModel): string =>
  `${source.kind === "file" ? `file:${basename(source.path)}` : sourceId(source)}${sha256 ? `#${sha256}` : ""}`;

/** The helper's request, once every input is a file. */
export function toRequest(template: MergeTemplate, fileOf: (model: WantedModel) => FetchedModel): MergeRequest {
  const { checkpoint, loras, terms, vae, ...own } = template;
  const path = (model: WantedModel) => fileOf(model).path;
  const hashes = inputsOf(template).flatMap((model) => {
    const { path: at, sha256 } = fileOf(model);
    return sha256 ? [[at, sha256] as const] : [];
  });
  return {
    ...own,
    base: path(checkpoint),
    loras: loras.map(({ model, ...strengths }) => ({ ...strengths, path: path(model) })),
    ...(terms.length > 0 && { terms: terms.map(({ model, weight }) => ({ path: path(model), weight })) }),
    ...(vae && { vae: path(vae) }),
    recipe: recipeId(template),
    sha256: Object.fromEntries(hashes),
  };
}
