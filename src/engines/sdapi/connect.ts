// engines/sdapi/ owns the talk with an engine that serves A1111's /sdapi/v1: the webui itself and the bundled diffusers engine.
// Takes: an endpoint and single attempts in A1111's own dialect. Gives: an `Engine`. A job's body and the engine's answer pass
// through untouched. Must not know images, sources, the pool or processes.
import type { Attempt, ConnectOptions, Endpoint, Engine, RunOptions } from "../engine.ts";
import { freeMemory } from "./free-memory.ts";
import { answerKey } from "./answer-key.ts";
import { batchKey, runBatch } from "./batch.ts";
import { interruptPath, type Patience, readProgress, settle } from "./interrupt.ts";
import { AttemptRun } from "./attempt-run.ts";
import { askJson, baseOf } from "../request.ts";

export type SdapiKind = "a1111" | "diffusers";

/** Times that only tests change. */
export interface SdapiPace {
  /** Default 500 ms. */
  readonly progressMs: number;
}

const usual: SdapiPace = { progressMs: 500 };
const usualPatience: Patience = { letGoMs: 20_000, loadingMs: 600_000 };

/** How to connect to an engine of this kind. A1111 has one slot whatever was asked: it queues, and its interrupt hits whatever runs. */
export function connectSdapi(kind: SdapiKind, pace: Partial<SdapiPace> = {}): (endpoint: Endpoint, options: ConnectOptions) => Engine {
  return (endpoint, options) => {
    const base = baseOf(endpoint.url);
    const closing = new AbortController();
    const patience = { letGoMs: options.letGoMs ?? usualPatience.letGoMs, loadingMs: options.loadingMs ?? usualPatience.loadingMs };
    return {
      name: endpoint.name,
      kind,
      slots: kind === "a1111" ? 1 : endpoint.slots,
      tellsProgress: true,
      async isReady({ signal }) {
        const models = await askJson(base, "/sdapi/v1/sd-models", { signal }).catch(() => undefined);
        // A 404 is not ready: another program may hold the port, or the API is still being added.
        return models !== undefined && models.status >= 200 && models.status < 300 && Array.isArray(models.body);
      },
      run: (attempt, { signal, ...listeners }) =>
        new AttemptRun({ kind, base, options, patience, pace: { ...usual, ...pace }, attempt, listeners }).run(AbortSignal.any([signal, closing.signal])),
      settle: ({ signal }) =>
        settle({
          ...patience,
          signal,
          progress: () => readProgress(base, { signal }),
          interrupt: () => askJson(base, interruptPath, { method: "POST", signal }),
        }),
      answerKey: (attempt, { signal }) => answerKey(base, kind, attempt, { signal }),
      ...(kind === "diffusers" && {
        batchKey,
        runBatch: (attempts: readonly Attempt[], { signal, ...listeners }: RunOptions) =>
          runBatch(
            attempts,
            { ...listeners, signal: AbortSignal.any([signal, closing.signal]) },
            { base, options, patience, everyMs: pace.progressMs ?? usual.progressMs },
          ),
      }),
      freeMemory: ({ signal }) => freeMemory(base, kind, { signal: AbortSignal.any([signal, closing.signal]) }),
      async close() {
        closing.abort();
      },
    };
  };
}
