import type { FettleError } from "../errors/fettle-error.ts";
import { FettleError as Failure } from "../errors/fettle-error.ts";
import { createGate } from "../util/gate.ts";
import { openModelCache } from "./cache.ts";
import { Fault, toError } from "./fault.ts";
import { type FetchedModel, fetchModel, type FetchOptions, lookAhead, type WantedModel } from "./fetch-model.ts";
import { sourceId } from "./model-source.ts";
import type { ModelSettings } from "./settings.ts";
import { ensureSpace } from "./space.ts";

/** Files at a time; each has connections of its own. */
const atOnce = 2;

export interface FetchedModels {
  /** The file, or why there is none. Only for models that were wanted. */
  of(model: WantedModel): FetchedModel | FettleError;
  readonly all: readonly { readonly source: string; readonly result: FetchedModel | FettleError }[];
}

/**
 * Fetches each source once. First every host is asked whether it will give its file (tokens, licences, sizes) and whether all fits on the
 * disk, then the bytes come; a source that fails does not stop the others. Rejects only with the signal's reason.
 */
export async function fetchModels(wanted: readonly WantedModel[], settings: ModelSettings, options: FetchOptions): Promise<FetchedModels> {
  const unique = [...new Map(wanted.map((model) => [keyOf(model), model])).entries()];
  const gate = createGate(atOnce);
  const results = new Map<string, FetchedModel | FettleError>();
  const each = async (work: (model: WantedModel) => Promise<FetchedModel | FettleError | undefined>) => {
    const open = unique.filter(([key]) => !results.has(key));
    await Promise.all(
      open.map(async ([key, model]) => {
        using _turn = await gate.enter(options);
        const result = await work(model).catch((error: unknown) => {
          options.signal.throwIfAborted();
          if (error instanceof Failure) return error;
          throw error;
        });
        if (result) results.set(key, result);
      }),
    );
  };

  let missingBytes = 0;
  await each(async (model) => {
    missingBytes += await lookAhead(model, settings, options);
    return undefined;
  });
  const full = await ensureSpace(settings.cacheDir, missingBytes).then(
    () => undefined,
    (fault: Fault) => fault,
  );
  await each(async (model) => {
    const name = sourceId(model.source);
    // What lies on the disk already can still be used.
    if (full && model.source.kind !== "file" && !(await openModelCache(settings.cacheDir).lookUp(model.source))) throw toError(full, name);
    return await fetchModel(model, settings, options);
  });
  return {
    of: (model) => results.get(keyOf(model)) ?? new Failure("model.not-found", `Cannot fetch ${sourceId(model.source)}: nobody asked for it.`),
    all: unique.flatMap(([key, { source }]) => {
      const result = results.get(key);
      return result ? [{ source: sourceId(source), result }] : [];
    }),
  };
}

const keyOf = ({ source, sha256 }: WantedModel): string => `${sourceId(source)}#${sha256 ?? ""}`;
