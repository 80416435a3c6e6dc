import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { FettleError } from "../errors/fettle-error.ts";
import { type Cached, type ModelCache, openModelCache } from "./cache.ts";
import { checkFile } from "./check-file.ts";
import { Fault, storeFault, toError } from "./fault.ts";
import { openKnownHashes } from "./known-hash.ts";
import { acquireLock } from "./lock.ts";
import { isPinned, type ModelSource, sourceId } from "./model-source.ts";
import { PartFile } from "./part-file.ts";
import { type Found, probe } from "./probe.ts";
import { locate, type RemoteSource } from "./providers/index.ts";
import type { Remote } from "./providers/provider.ts";
import type { ModelSettings } from "./settings.ts";
import { ensureSpace } from "./space.ts";
import { Changed, transfer } from "./transfer.ts";

export interface WantedModel {
  readonly source: ModelSource;
  /** Lower case hex; what comes must have it. */
  readonly sha256?: string | undefined;
}

export interface FetchedModel {
  readonly path: string;
  /** Unknown for a local file that nobody has read yet. */
  readonly sha256?: string;
  readonly sizeBytes: number;
  readonly from: "disk" | "cache" | "network";
}

/** What happens to one source, in order; observers draw and count. */
export type FetchEvent =
  | { readonly type: "waiting"; readonly source: string; readonly holder: string }
  | { readonly type: "found"; readonly source: string; readonly sizeBytes: number | undefined; readonly resumedBytes: number }
  | { readonly type: "bytes"; readonly source: string; readonly count: number }
  | { readonly type: "retry"; readonly source: string; readonly reason: string }
  | { readonly type: "stale"; readonly source: string; readonly reason: string }
  | { readonly type: "fetched"; readonly source: string; readonly sizeBytes: number; readonly from: FetchedModel["from"] };

export interface FetchOptions {
  readonly signal: AbortSignal;
  readonly onEvent?: (event: FetchEvent) => void;
}

/** One model as a whole, checked file. Throws a `model.*` error, or the signal's reason; what was fetched stays for the next run. */
export async function fetchModel(wanted: WantedModel, settings: ModelSettings, options: FetchOptions): Promise<FetchedModel> {
  const name = sourceId(wanted.source);
  try {
    const model =
      wanted.source.kind === "file" ? await useLocal(wanted.source.path, wanted.sha256, settings) : await fetchRemote(wanted.source, wanted, settings, options);
    options.onEvent?.({ type: "fetched", source: name, sizeBytes: model.sizeBytes, from: model.from });
    return model;
  } catch (error) {
    options.signal.throwIfAborted();
    if (error instanceof FettleError) throw error;
    throw toError(error instanceof Fault ? error : storeFault(error, settings.cacheDir), name);
  }
}

/**
 * Asks a source's host whether it will give the file, before anything long begins; gives the bytes that a download would add to the disk.
 * Throws as `fetchModel` does. Nothing is asked where the cache knows.
 */
export async function lookAhead({ source, sha256 }: WantedModel, settings: ModelSettings, { signal }: FetchOptions): Promise<number> {
  if (source.kind === "file" || settings.offline) return 0;
  const cache = openModelCache(settings.cacheDir);
  if (await fromCache(source, sha256, cache, { evenIfMutable: false })) return 0;
  const kept = await cache.lookUp(source);
  try {
    const found = await probe(await locate(source, settings, { signal }), settings, { signal });
    if (sha256 && found.sha256 && sha256 !== found.sha256) throw wrongHash(sha256, found.sha256);
    const known = sha256 ?? found.sha256;
    if (known ? await cache.find(known) : unchanged(kept, found)) return 0;
    return Math.max(0, (found.sizeBytes ?? 0) - (await PartFile.doneBytes(cache.partialPath(source), found)));
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Fault)) throw error;
    // An old version is better than none: fetchModel decides.
    if (kept && error.code === "model.unreachable") return 0;
    throw toError(error, sourceId(source));
  }
}

async function useLocal(path: string, sha256: string | undefined, settings: ModelSettings): Promise<FetchedModel> {
  const found = await stat(path).catch((error: unknown) => {
    throw localFault(error as NodeJS.ErrnoException, path);
  });
  // A diffusers folder has no bytes of its own; whoever opens it checks its files.
  if (found.isDirectory()) return { path, sizeBytes: 0, from: "disk" };
  if (!found.isFile()) throw new Fault("model.wrong-content", "it is a device, a pipe or a socket, not a file");
  await checkFile(path, path, path).catch((error: unknown) => {
    throw error instanceof Fault ? error : localFault(error as NodeJS.ErrnoException, path);
  });
  const hashes = openKnownHashes(settings.cacheDir);
  const known = sha256 ? await hashes.of(path) : hashes.get(path);
  if (sha256 && known !== sha256) throw wrongHash(sha256, known ?? "");
  return { path, ...(known && { sha256: known }), sizeBytes: found.size, from: "disk" };
}

function localFault({ code, message }: NodeJS.ErrnoException, path: string): Fault {
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: "there is no such file",
    ENOTDIR: "a part of its path is a file, not a folder",
    ELOOP: "its path is a loop of symbolic links",
    EACCES: "it may not be read by this user",
    ENAMETOOLONG: "its name is too long",
  };
  return new Fault("model.not-found", reasons[code ?? ""] ?? message, { hint: `Check the path: ${path}` });
}

async function fetchRemote(source: RemoteSource, { sha256 }: WantedModel, settings: ModelSettings, options: FetchOptions): Promise<FetchedModel> {
  const cache = openModelCache(settings.cacheDir);
  const early = await fromCache(source, sha256, cache, { evenIfMutable: settings.offline });
  if (early) return early;
  if (settings.offline) throw new Fault("model.unreachable", "it is not in the cache, and HF_HUB_OFFLINE forbids the network");
  const name = sourceId(source);
  using _lock = await acquireLock(cache.lockPath(source), {
    signal: options.signal,
    onWait: (holder) => options.onEvent?.({ type: "waiting", source: name, holder }),
  });
  // Whoever held it may have fetched the very same.
  const late = await fromCache(source, sha256, cache, { evenIfMutable: false });
  if (late) return late;
  const kept = await cache.lookUp(source);
  try {
    return await download(source, sha256, kept, { cache, settings, ...options });
  } catch (error) {
    if (!(kept && (!sha256 || kept.sha256 === sha256) && error instanceof Fault && error.code === "model.unreachable")) throw error;
    options.onEvent?.({ type: "stale", source: name, reason: error.reason });
    return { ...kept, from: "cache" };
  }
}

/** What the cache has that needs no question: the hash that is wanted, or a source that always names the same bytes. */
async function fromCache(
  source: ModelSource,
  sha256: string | undefined,
  cache: ModelCache,
  { evenIfMutable }: { evenIfMutable: boolean },
): Promise<FetchedModel | undefined> {
  const noted = await cache.lookUp(source);
  if (sha256) {
    const found = noted?.sha256 === sha256 ? noted : await cache.find(sha256);
    return found && { ...found, from: "cache" };
  }
  return noted && (evenIfMutable || isPinned(source)) ? { ...noted, from: "cache" } : undefined;
}

interface Work extends FetchOptions {
  readonly cache: ModelCache;
  readonly settings: ModelSettings;
}

async function download(source: RemoteSource, sha256: string | undefined, kept: Cached | undefined, work: Work): Promise<FetchedModel> {
  const { cache, settings, signal, onEvent } = work;
  const remote = await locate(source, settings, { signal });
  for (let attempt = 1; ; attempt++) {
    const found = await probe(remote, settings, { signal });
    if (sha256 && found.sha256 && sha256 !== found.sha256) throw wrongHash(sha256, found.sha256);
    const known = sha256 ?? found.sha256;
    const same = known ? await cache.find(known, found.fileName) : unchanged(kept, found);
    if (same) {
      await cache.remember(source, { ...same, fileName: same.path.split("/").at(-1) ?? found.fileName, validator: found.validator });
      return { ...same, from: "cache" };
    }
    const partial = cache.partialPath(source);
    await mkdir(dirname(partial), { recursive: true });
    const resumedBytes = await PartFile.doneBytes(partial, found);
    await ensureSpace(settings.cacheDir, (found.sizeBytes ?? 0) - resumedBytes);
    onEvent?.({ type: "found", source: sourceId(source), sizeBytes: found.sizeBytes, resumedBytes });
    try {
      return await fetchInto(partial, { source, remote, found, sha256: known }, work);
    } catch (error) {
      // Once more from the beginning: the file changed on the way, or what an earlier run left was not what it seemed.
      if (!(error instanceof Changed)) throw error;
      if (attempt === 2) throw new Fault("model.unreachable", "it changes while it is being fetched", { hint: "Try later, or name a fixed revision." });
    }
  }
}

const unchanged = (kept: Cached | undefined, { validator, sizeBytes }: Found): Cached | undefined =>
  kept?.validator !== undefined && kept.validator === validator && kept.sizeBytes === sizeBytes ? kept : undefined;

interface Target {
  readonly source: RemoteSource;
  readonly remote: Remote;
  readonly found: Found;
  readonly sha256: string | undefined;
}

async function fetchInto(path: string, { source, remote, found, sha256 }: Target, { cache, settings, signal, onEvent }: Work): Promise<FetchedModel> {
  const name = sourceId(source);
  await using part = await PartFile.open(path, found, settings);
  try {
    await transfer(remote, found, part, settings, {
      signal,
      onBytes: (count) => onEvent?.({ type: "bytes", source: name, count }),
      onRetry: (reason) => onEvent?.({ type: "retry", source: name, reason }),
    });
  } catch (error) {
    if (error instanceof Changed || !found.ranges) await part.discard();
    else await part.save().catch(() => undefined);
    throw error;
  }
  try {
    const whole = await part.finish();
    if (sha256 && whole.sha256 !== sha256) throw part.resumed ? new Changed() : wrongHash(sha256, whole.sha256);
    await checkFile(path, found.fileName, remote.url.hostname);
    const stored = await cache.store(source, path, { ...whole, fileName: found.fileName, validator: found.validator });
    await part.discard();
    return { ...stored, from: "network" };
  } catch (error) {
    // Whole but wrong: nothing of it is worth going on with.
    if (error instanceof Fault || error instanceof Changed) await part.discard();
    throw error;
  }
}

function wrongHash(wanted: string, got: string): Fault {
  return new Fault("model.wrong-hash", `its sha256 is ${got}, expected ${wanted}`, {
    hint: "The file is another one or damaged; if it was replaced on purpose, correct the hash.",
  });
}
