import { FettleError } from "../errors/fettle-error.ts";
import { loadRecipe } from "../merge/recipe.ts";
import { isPlain } from "../merge/merge-template.ts";
import { runRecipe, type RunRecipeOptions } from "../merge/run-recipe.ts";

export interface KeepOptions extends Pick<RunRecipeOptions, "python" | "assetRoot" | "env" | "models" | "signal"> {
  readonly file: string;
  readonly cwd: string;
  readonly outDir: string;
}

/**
 * Merges a template into `outDir`, so that the next start finds it merged; a lock there lets one machine do it for all. Gives the path;
 * undefined when the template has nothing to merge.
 */
export async function keepMerged(name: string, { file, cwd, outDir, ...run }: KeepOptions): Promise<string | undefined> {
  const template = loadRecipe(file, { cwd, outDir, plain: true }).find((one) => one.name === name);
  if (!template || isPlain(template)) return undefined;
  const options = { ...run, dryRun: false, allowUnmatched: false, verify: false, force: false, threads: 1, onEvent: () => undefined };
  const { failures } = await runRecipe([template], options);
  const [failure] = failures;
  if (failure) throw failure.error instanceof FettleError ? failure.error : new FettleError("merge.failed", String(failure.error));
  return template.out;
}
