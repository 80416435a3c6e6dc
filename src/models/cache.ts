import { chmod, mkdir, open, readdir, readFile, rename, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { writeFileAtomic } from "../util/atomic-write.ts";
import { type ModelSource, sourceId, sourceKey } from "./model-source.ts";
import { placeModel } from "./place-model.ts";

const note = z.object({
  source: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  fileName: z.string(),
  sizeBytes: z.number(),
  validator: z.string().optional(),
});

export interface Cached {
  readonly path: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** What the source said when it was fetched; a changed one means that the file there is another now. */
  readonly validator?: string | undefined;
}

export interface NewBlob {
  readonly sha256: string;
  readonly fileName: string;
  readonly sizeBytes: number;
  readonly validator: string | undefined;
}

/**
 *     blobs/SHA256/NAME     whole and checked files, read-only; a second name for the same bytes is a hard link
 *     sources/KEY.json      which blob a source gave
 *     partial/KEY           unfinished downloads and their notes
 *     locks/KEY             one download at a time for each source
 */
export interface ModelCache {
  lookUp(source: ModelSource): Promise<Cached | undefined>;
  /** By content, whatever its source was. */
  find(sha256: string, fileName?: string): Promise<Cached | undefined>;
  /** Takes a checked file in by renaming it. */
  store(source: ModelSource, file: string, blob: NewBlob): Promise<Cached>;
  /** Notes that a source gives a blob that is there. */
  remember(source: ModelSource, blob: NewBlob): Promise<void>;
  partialPath(source: ModelSource): string;
  lockPath(source: ModelSource): string;
}

export function openModelCache(dir: string): ModelCache {
  const blobDir = (sha256: string) => join(dir, "blobs", sha256);
  const notePath = (source: ModelSource) => join(dir, "sources", `${sourceKey(source)}.json`);
  const cache: ModelCache = {
    async lookUp(source) {
      const noted = await readNote(notePath(source));
      if (noted?.source !== sourceId(source)) return undefined;
      const path = join(blobDir(noted.sha256), noted.fileName);
      const found = await stat(path).catch(() => undefined);
      // A file that somebody cut or overwrote is fetched again.
      if (!found?.isFile() || found.size !== noted.sizeBytes) return undefined;
      return { path, sha256: noted.sha256, sizeBytes: noted.sizeBytes, validator: noted.validator };
    },
    async find(sha256, fileName) {
      const names = await readdir(blobDir(sha256)).catch((): string[] => []);
      const [name] = names.filter((one) => !one.endsWith(".tmp"));
      if (name === undefined) return undefined;
      const path = join(blobDir(sha256), fileName ?? name);
      if (fileName !== undefined && !names.includes(fileName)) await placeModel(join(blobDir(sha256), name), path);
      return { path, sha256, sizeBytes: (await stat(path)).size };
    },
    async store(source, file, blob) {
      const path = join(blobDir(blob.sha256), blob.fileName);
      await mkdir(blobDir(blob.sha256), { recursive: true });
      await chmod(file, 0o444);
      await rename(file, path);
      await flushFolder(dirname(path));
      await cache.remember(source, blob);
      return { path, sha256: blob.sha256, sizeBytes: blob.sizeBytes };
    },
    async remember(source, { sha256, fileName, sizeBytes, validator }) {
      const text = JSON.stringify({ source: sourceId(source), sha256, fileName, sizeBytes, ...(validator && { validator }) });
      writeFileAtomic(notePath(source), text);
    },
    partialPath: (source) => join(dir, "partial", sourceKey(source)),
    lockPath: (source) => join(dir, "locks", sourceKey(source)),
  };
  return cache;
}

async function readNote(path: string): Promise<z.infer<typeof note> | undefined> {
  try {
    return note.parse(JSON.parse(await readFile(path, "utf8")));
  } catch {
    return undefined;
  }
}

async function flushFolder(path: string): Promise<void> {
  await using folder = await open(path, "r");
  await folder.sync();
}
