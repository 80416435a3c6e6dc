import type { IncomingHttpHeaders } from "node:http";
import type { Fault } from "../fault.ts";
import type { ModelSource } from "../model-source.ts";
import type { ModelSettings } from "../settings.ts";

/** Where a source's bytes are, and what is known of them before the first is read. */
export interface Remote {
  /** Each connection begins here: a signed address behind a redirect may have expired by the next. */
  readonly url: URL;
  /** The token for a URL of the provider's own; undefined for every other. */
  authorize(url: URL): string | undefined;
  /** Base name for the cache, when the provider knows it better than the URL. */
  readonly fileName?: string;
  readonly sha256?: string;
  readonly sizeBytes?: number;
  /** What the headers on the way say. */
  told(hops: readonly IncomingHttpHeaders[]): { readonly sha256?: string; readonly sizeBytes?: number };
  /** What a refusal means here and what to do; undefined for statuses that mean what they always mean. */
  explain(status: number, host: string): Fault | undefined;
}

/** One kind of source. A new one is a file and a row in index.ts. */
export interface Provider<S extends ModelSource> {
  /** May ask the provider's API. Throws `Fault`. */
  locate(source: S, settings: ModelSettings, options: { signal: AbortSignal }): Promise<Remote>;
}
