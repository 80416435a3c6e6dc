import { createHash, randomUUID } from "node:crypto";
import { createReadStream, mkdirSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { copyFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Attempt, AttemptResult, ConnectOptions, Engine } from "../engines/engine.ts";
import { canonicalJson } from "../util/canonical-json.ts";

export interface ResponseCacheLimits {
  readonly maxBytes: number;
  readonly maxEntries: number;
}

/** Answers of seeded jobs as files named by their key; the ones used longest ago go first. All engines of a worker share one. */
export class ResponseCache {
  readonly #dir: string;
  readonly #limits: ResponseCacheLimits;
  /** Oldest use first. */
  readonly #entries = new Map<string, number>();
  #sizeBytes = 0;
  #lastUseMs = 0;

  constructor(dir: string, limits: ResponseCacheLimits) {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    this.#dir = dir;
    this.#limits = limits;
    const found = readdirSync(dir).flatMap((name) => {
      const path = join(dir, name);
      // What a dead worker was just writing.
      if (!name.endsWith(".json")) {
        rmSync(path, { force: true, recursive: true });
        return [];
      }
      const { mtimeMs, size } = statSync(path);
      return [{ key: name.slice(0, -".json".length), mtimeMs, size }];
    });
    for (const { key, size } of found.toSorted((a, b) => a.mtimeMs - b.mtimeMs)) this.#add(key, size);
    this.#trim();
  }

  /** The answer's file; undefined when there is none. */
  find(key: string): string | undefined {
    const size = this.#entries.get(key);
    if (size === undefined) return undefined;
    const path = this.#pathOf(key);
    try {
      if (statSync(path).size !== size) throw new Error("cut off");
      this.#stampUse(path);
    } catch {
      this.#remove(key);
      return undefined;
    }
    this.#entries.delete(key);
    this.#entries.set(key, size);
    return path;
  }

  /** Keeps a copy. False: it is too large, or the disk takes none; the job has its answer all the same. */
  async store(key: string, path: string, sizeBytes: number): Promise<boolean> {
    if (sizeBytes > this.#limits.maxBytes) return false;
    const draft = join(this.#dir, `${randomUUID()}.part`);
    try {
      await copyFile(path, draft);
      this.#stampUse(draft);
      await rename(draft, this.#pathOf(key));
    } catch {
      await rm(draft, { force: true }).catch(() => {});
      return false;
    }
    this.#forget(key);
    this.#add(key, sizeBytes);
    this.#trim();
    return true;
  }

  /** The next life reads the order from these times: two uses never share a millisecond, and none has the kernel's coarser clock. */
  #stampUse(path: string): void {
    this.#lastUseMs = Math.max(Date.now(), this.#lastUseMs + 1);
    utimesSync(path, this.#lastUseMs / 1000, this.#lastUseMs / 1000);
  }

  #pathOf(key: string): string {
    return join(this.#dir, `${key}.json`);
  }

  #add(key: string, sizeBytes: number): void {
    this.#entries.set(key, sizeBytes);
    this.#sizeBytes += sizeBytes;
  }

  #forget(key: string): void {
    this.#sizeBytes -= this.#entries.get(key) ?? 0;
    this.#entries.delete(key);
  }

  #remove(key: string): void {
    this.#forget(key);
    rmSync(this.#pathOf(key), { force: true });
  }

  #trim(): void {
    for (const key of this.#entries.keys()) {
      if (this.#sizeBytes <= this.#limits.maxBytes && this.#entries.size <= this.#limits.maxEntries) return;
      this.#remove(key);
    }
  }
}

/**
 * An engine that answers identical seeded jobs from the cache. The kept answer goes through the same reader as a fresh one, so what
 * follows (checks, sinks, formats) sees no difference. An engine that cannot say what decides its answers is given back as it is.
 */
export function withResponseCache(engine: Engine, cache: ResponseCache, readAnswer: ConnectOptions["readAnswer"]): Engine {
  const { answerKey } = engine;
  if (!answerKey) return engine;
  return {
    ...engine,
    async run(attempt, options) {
      const decided = await answerKey(attempt, options).catch(() => undefined);
      if (decided === undefined) return await engine.run(attempt, options);
      const key = createHash("sha256")
        .update(canonicalJson([decided, attempt.call ?? null, attempt.input]))
        .digest("hex");
      const kept = cache.find(key);
      const replayed = kept === undefined ? undefined : await replay(kept, attempt, readAnswer);
      if (replayed) return options.signal.aborted ? { type: "cancelled" } : replayed;
      const result = await engine.run(attempt, options);
      // What had to be warned of (a black picture) may be better the next time.
      if (result.type !== "done" || result.output.warnings.length > 0) return result;
      const { path, sizeBytes } = result.output.answer;
      return { ...result, cache: (await cache.store(key, path, sizeBytes)) ? "stored" : "miss" };
    },
  };
}

/** Undefined when the kept file cannot be used: then the engine is asked. */
async function replay(path: string, attempt: Attempt, readAnswer: ConnectOptions["readAnswer"]): Promise<AttemptResult | undefined> {
  const reader = await readAnswer(attempt);
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) if (!(await reader.write(chunk))) break;
    const verdict = await reader.end();
    return verdict.type === "good" ? { type: "done", output: verdict.output, engineMs: 0, cache: "hit" } : undefined;
  } catch {
    return undefined;
  } finally {
    await reader.discard();
  }
}
