import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { FettleError } from "../errors/fettle-error.ts";
import { openModelCache } from "../models/cache.ts";
import { storeFault } from "../models/fault.ts";
import { type FetchedModel, type FetchEvent, lookAhead, type WantedModel } from "../models/fetch-model.ts";
import { type FetchedModels, fetchModels } from "../models/fetch-models.ts";
import { openKnownHashes } from "../models/known-hash.ts";
import { acquireLock, clearDeadLock } from "../models/lock.ts";
import { sourceId } from "../models/model-source.ts";
import type { ModelSettings } from "../models/settings.ts";
import type { MergeReport } from "./merge-request.ts";
import { inputsOf, type MergeTemplate, recipeId, toRequest } from "./merge-template.ts";
import { readStamp } from "./merged-stamp.ts";
import { runMerge, type RunMergeOptions } from "./run-merge.ts";

export type MergeEvent =
  | { readonly type: "fetch"; readonly event: FetchEvent }
  | { readonly type: "waiting"; readonly name: string; readonly holder: string }
  | { readonly type: "merging"; readonly name: string; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly type: "merged"; readonly report: MergeReport }
  | { readonly type: "failed"; readonly name: string; readonly error: FettleError };

export interface RunRecipeOptions extends Omit<RunMergeOptions, "onProgress"> {
  readonly models: ModelSettings;
  readonly onEvent: (event: MergeEvent) => void;
}

export interface RecipeResult {
  readonly reports: readonly MergeReport[];
  readonly failures: readonly { readonly name: string; readonly error: FettleError }[];
  readonly fetched: FetchedModels["all"];
}

/**
 * Fetches what the templates need, each source once, and merges them one after the other, those of one checkpoint together: its bytes are
 * then still in memory. A template that fails does not stop the others. Rejects only with the signal's reason.
 */
export async function runRecipe(templates: readonly MergeTemplate[], options: RunRecipeOptions): Promise<RecipeResult> {
  const { models, onEvent, signal } = options;
  const reports: MergeReport[] = [];
  const failures: { name: string; error: FettleError }[] = [];
  const done = (report: MergeReport) => {
    reports.push(report);
    onEvent({ type: "merged", report });
  };
  const fail = (name: string, error: unknown) => {
    signal.throwIfAborted();
    if (!(error instanceof FettleError)) throw error;
    failures.push({ name, error });
    onEvent({ type: "failed", name, error });
  };
  const open: MergeTemplate[] = [];
  for (const template of templates) {
    try {
      const report = options.dryRun ? await lookOnly(template, options) : options.force ? undefined : await isThere(template, models);
      if (report) done(report);
      else open.push(template);
    } catch (error) {
      fail(template.name, error);
    }
  }
  const fetched = await fetchModels(open.flatMap(inputsOf), models, { signal, onEvent: (event) => onEvent({ type: "fetch", event }) });
  const groups = Map.groupBy(open, ({ checkpoint }) => JSON.stringify(checkpoint.source));
  for (const template of [...groups.values()].flat()) {
    signal.throwIfAborted();
    try {
      done(await mergeOne(template, fetched, options));
    } catch (error) {
      fail(template.name, error);
    }
  }
  return { reports, failures, fetched: fetched.all };
}

/**
 * The output carries this very recipe, and no input is at hand that could have changed: nothing is fetched only to find that out. With local
 * inputs, or everything in the cache, the helper compares the files themselves.
 */
async function isThere(template: MergeTemplate, models: ModelSettings): Promise<MergeReport | undefined> {
  const { name, out } = template;
  if ((await readStamp(out)) !== recipeId(template)) return undefined;
  const inputs = inputsOf(template);
  const isLocal = ({ source }: WantedModel) => source.kind === "file" && existsSync(source.path);
  const cache = openModelCache(models.cacheDir);
  const cached = await Promise.all(inputs.map(async (one) => isLocal(one) || (one.source.kind !== "file" && (await cache.lookUp(one.source)) !== undefined)));
  const mayDiffer = inputs.some(isLocal) || (template.configDir !== undefined && existsSync(template.configDir));
  if (mayDiffer && cached.every(Boolean)) return undefined;
  clearDeadLock(lockOf(out));
  return { name, out, written: false, upToDate: true, tensors: 0, changedTensors: 0, sizeBytes: 0, coverage: [] };
}

/** A dry run downloads nothing: it says what is missing. Undefined: everything is at hand, and the helper can look closer. */
async function lookOnly({ name, out, ...template }: MergeTemplate, { models, signal }: RunRecipeOptions): Promise<MergeReport | undefined> {
  const cache = openModelCache(models.cacheDir);
  const toFetch: { source: string; sizeBytes: number }[] = [];
  for (const model of inputsOf({ name, out, ...template })) {
    if (model.source.kind === "file" || (await cache.lookUp(model.source)) || (model.sha256 && (await cache.find(model.sha256)))) continue;
    toFetch.push({ source: sourceId(model.source), sizeBytes: await lookAhead(model, models, { signal }) });
  }
  return toFetch.length === 0 ? undefined : { name, out, written: false, tensors: 0, changedTensors: 0, sizeBytes: 0, coverage: [], toFetch };
}

async function mergeOne(template: MergeTemplate, fetched: FetchedModels, options: RunRecipeOptions): Promise<MergeReport> {
  const { onEvent, signal, models } = options;
  const { name, out } = template;
  const request = toRequest(template, (model) => present(fetched.of(model)));
  const onProgress = (doneBytes: number, totalBytes: number) => onEvent({ type: "merging", name, doneBytes, totalBytes });
  onProgress(0, 0);
  const run = async () => {
    const report = await runMerge(request, { ...options, onProgress });
    const hashes = openKnownHashes(models.cacheDir);
    for (const [path, sha256] of Object.entries(report.sha256 ?? {})) if (request.sha256?.[path] !== sha256) hashes.remember(path, sha256);
    return report;
  };
  if (options.dryRun) return await run();
  using _held = await acquireLock(lockOf(out), { signal, onWait: (holder) => onEvent({ type: "waiting", name, holder }) }).catch((error: unknown) => {
    signal.throwIfAborted();
    const { code, reason } = storeFault(error, dirname(out));
    throw new FettleError(code === "model.no-space" ? "merge.no-space" : "merge.unwritable", `Cannot merge ${name}: ${reason}.`, { cause: error });
  });
  return await run();
}

/** Beside the output: whoever shares its volume sees it, whatever cache they have. */
const lockOf = (out: string): string => join(dirname(out), `.${basename(out)}.fettle-lock`);

function present(result: FetchedModel | FettleError): FetchedModel {
  if (result instanceof FettleError) throw result;
  return result;
}
