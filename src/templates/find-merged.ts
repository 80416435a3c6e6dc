import type { OutputDtype, OutputFormat } from "../merge/merge-request.ts";
import { type MergeTemplate, recipeId } from "../merge/merge-template.ts";
import { lookAtMerged } from "../merge/merged-stamp.ts";
import { openRecipe } from "../merge/recipe.ts";

/** What `fettle merge` may have been told by flags; the recipe's own words come first. */
const formats: readonly OutputFormat[] = ["single", "diffusers"];
const dtypes: readonly OutputDtype[] = ["keep", "fp16"];

export interface MergedPlaces {
  readonly file: string;
  readonly cwd: string;
  /** Folders that `fettle merge --out` wrote to. */
  readonly mergedDirs: readonly string[];
}

export type FoundMerged =
  | { readonly type: "found"; readonly path: string; readonly recipe: string }
  /** There is one that is not used; `reason` ends a sentence about it. */
  | { readonly type: "unused"; readonly path: string; readonly reason: string }
  | { readonly type: "none" };

/** A merged model of this very template: whole, and with its recipe. */
export async function findMerged(name: string, places: MergedPlaces): Promise<FoundMerged> {
  return await firstOf(variantsOf(places).filter((template) => template.name === name));
}

/** The same for every template of the file, by name. */
export async function findAllMerged(places: MergedPlaces): Promise<ReadonlyMap<string, FoundMerged>> {
  const found = new Map<string, FoundMerged>();
  for (const [name, variants] of Map.groupBy(variantsOf(places), (template) => template.name)) found.set(name, await firstOf(variants));
  return found;
}

async function firstOf(variants: readonly MergeTemplate[]): Promise<FoundMerged> {
  let unused: FoundMerged = { type: "none" };
  for (const template of variants) {
    const look = await lookAtMerged(template.out);
    if (look.type === "none") continue;
    const recipe = recipeId(template);
    if (look.type === "whole" && look.recipe === recipe) return { type: "found", path: template.out, recipe };
    if (unused.type !== "none") continue;
    unused = { type: "unused", path: template.out, reason: look.type === "whole" ? "it is not of this recipe any more" : look.reason };
  }
  return unused;
}

/** Every template in each form that it may lie there in; the folders' order comes first. */
function variantsOf({ file, cwd, mergedDirs }: MergedPlaces): MergeTemplate[] {
  const templates = openRecipe(file, cwd);
  return mergedDirs.flatMap((outDir) => formats.flatMap((format) => dtypes.flatMap((dtype) => templates({ outDir, format, dtype, plain: true }))));
}
