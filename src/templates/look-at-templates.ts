import { existsSync } from "node:fs";
import { loadRecipe } from "../merge/recipe.ts";
import { isPlain, type MergeTemplate } from "../merge/merge-template.ts";
import { openModelCache } from "../models/cache.ts";
import type { WantedModel } from "../models/fetch-model.ts";
import type { ModelSettings } from "../models/settings.ts";
import { findAllMerged, type FoundMerged, type MergedPlaces } from "./find-merged.ts";
import { placeInput, showInput } from "./place-input.ts";
import type { FileKind } from "./resolve-template.ts";
import { vaeFor } from "./vae-for.ts";

export interface LookOptions extends MergedPlaces {
  readonly modelsDir: string;
  /** A VAE for templates that name none. */
  readonly vae: WantedModel | undefined;
  readonly models: ModelSettings;
}

export interface InputLook {
  readonly kind: FileKind;
  readonly source: string;
  readonly state: "there" | "missing" | "to-download";
  readonly from: WantedModel["source"]["kind"];
  /** Its URL holds a token of its own. */
  readonly hasToken: boolean;
  /** Of a local file that is there. */
  readonly path?: string;
}

export interface TemplateLook {
  readonly name: string;
  readonly merged: FoundMerged;
  /** The checkpoint as it is: `fettle merge` leaves it out. */
  readonly isPlain: boolean;
  /** Other checkpoints are added to it, by `fettle merge` only. */
  readonly isSum: boolean;
  /** What the next job needs besides the merged model; all of the template's files where there is none. */
  readonly inputs: readonly InputLook[];
}

/** What a job of each template would run on, and what it would have to fetch. Asks no host. Throws for a recipe with mistakes. */
export async function lookAtTemplates(options: LookOptions): Promise<TemplateLook[]> {
  const merged = await findAllMerged(options);
  return await Promise.all(
    loadRecipe(options.file, { cwd: options.cwd, outDir: options.modelsDir, plain: true }).map(async (template): Promise<TemplateLook> => {
      const found = merged.get(template.name) ?? { type: "none" };
      const needed = neededFiles(template, { isMerged: found.type === "found", usualVae: options.vae });
      const inputs = await Promise.all(needed.map(({ kind, model }) => lookAtInput(kind, model, options)));
      return { name: template.name, merged: found, isPlain: isPlain(template), isSum: template.terms.length > 0, inputs };
    }),
  );
}

interface Needed {
  readonly kind: FileKind;
  readonly model: WantedModel;
}

function neededFiles(template: MergeTemplate, which: { readonly isMerged: boolean; readonly usualVae: WantedModel | undefined }): Needed[] {
  const { checkpoint, loras } = template;
  const vae = vaeFor(template, which);
  const files: Needed[] = which.isMerged ? [] : [{ kind: "checkpoint", model: checkpoint }, ...loras.map(({ model }): Needed => ({ kind: "lora", model }))];
  return vae ? [...files, { kind: "vae", model: vae }] : files;
}

async function lookAtInput(kind: FileKind, model: WantedModel, options: LookOptions): Promise<InputLook> {
  const placed = placeInput(model, options);
  const { source } = placed;
  const look = { kind, source: showInput(model, options), from: source.kind, hasToken: "token" in source && source.token !== undefined };
  if (source.kind === "file") return existsSync(source.path) ? { ...look, state: "there", path: source.path } : { ...look, state: "missing" };
  const cache = openModelCache(options.models.cacheDir);
  const cached = (await cache.lookUp(source)) ?? (placed.sha256 === undefined ? undefined : await cache.find(placed.sha256));
  return { ...look, state: cached ? "there" : "to-download" };
}
