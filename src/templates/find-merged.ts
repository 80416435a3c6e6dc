import type { OutputDtype, OutputFormat } from "../merge/merge-request.ts";
import { type MergeTemplate, recipeId } from "../merge/merge-template.ts";
import { readStamp } from "../merge/merged-stamp.ts";
import { loadRecipe } from "../merge/recipe.ts";

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
  /** There is one, of another recipe or not whole. */
  | { readonly type: "stale"; readonly path: string }
  | { readonly type: "none" };

/** A merged model of this very template: whole, and with its recipe. */
export async function findMerged(name: string, { file, cwd, mergedDirs }: MergedPlaces): Promise<FoundMerged> {
  let stale: string | undefined;
  for (const outDir of mergedDirs) {
    for (const template of variantsOf(name, file, { cwd, outDir })) {
      const stamp = await readStamp(template.out);
      const recipe = recipeId(template);
      if (stamp === recipe) return { type: "found", path: template.out, recipe };
      if (stamp !== undefined) stale ??= template.out;
    }
  }
  return stale === undefined ? { type: "none" } : { type: "stale", path: stale };
}

function variantsOf(name: string, file: string, place: { cwd: string; outDir: string }): MergeTemplate[] {
  return formats.flatMap((format) =>
    dtypes.flatMap((dtype) => loadRecipe(file, { ...place, format, dtype, plain: true }).filter((template) => template.name === name)),
  );
}
