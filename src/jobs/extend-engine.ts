import type { WorkerSettings } from "../control/protocol.ts";
import type { ConnectOptions, Engine } from "../engines/engine.ts";
import { withBatching } from "./batching/batching-engine.ts";
import { ResponseCache, withResponseCache } from "./response-cache.ts";

export interface ExtendOptions {
  readonly jobs: Pick<WorkerSettings["jobs"], "batching" | "responseCache">;
  /** Made when the cache is on. */
  readonly cacheDir: string;
  readonly readAnswer: ConnectOptions["readAnswer"];
}

/** What the config adds to every engine: jobs in batches, answers from a cache. A cached answer needs no place in a batch. */
export function extendEngine({ jobs: { batching, responseCache }, cacheDir, readAnswer }: ExtendOptions): (engine: Engine) => Engine {
  const cache = responseCache.enabled ? new ResponseCache(cacheDir, { maxBytes: responseCache.maxSize, maxEntries: responseCache.maxEntries }) : undefined;
  return (engine) => {
    const batched = batching.enabled ? withBatching(engine, { maxSize: batching.maxSize, maxWaitMs: batching.maxWait }) : engine;
    return cache ? withResponseCache(batched, cache, readAnswer) : batched;
  };
}
