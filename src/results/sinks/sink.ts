import type { Artifact, EngineOutput } from "../../engines/engine.ts";

/**
 * Where a finished job's images go besides the answer itself. `store` returns when they are safe there, or throws a FettleError
 * (`result.cannot-store`); stored twice for one job, the second time replaces the first. Only the source answers the caller.
 */
export interface Sink {
  readonly name: string;
  /** The images must lie in files: the answer reader is told to keep them. */
  readonly wantsFiles: boolean;
  store(job: { readonly id: string }, output: EngineOutput): Promise<readonly Artifact[]>;
}
