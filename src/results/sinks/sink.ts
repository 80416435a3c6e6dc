import type { Artifact } from "../../engines/engine.ts";
import type { StoredFile } from "../picture.ts";

/** What a sink is given: each image in a file of its own. */
export type StorableImage = Pick<StoredFile, "index" | "mime" | "sizeBytes" | "path" | "ext">;

/**
 * Where a finished job's images go besides the answer itself. `store` returns when they are safe there, or throws a FettleError
 * (`result.cannot-store`); stored twice for one job, the second time replaces the first. Only the source answers the caller.
 */
export interface Sink {
  readonly name: string;
  /** `parameters`: how each image was generated, by its index. */
  store(job: { readonly id: string }, images: readonly StorableImage[], more?: { readonly parameters?: readonly string[] }): Promise<readonly Artifact[]>;
}
