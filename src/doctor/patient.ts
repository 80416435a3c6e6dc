import type { LoadedConfig } from "../config/load.ts";
import type { FettleError } from "../errors/fettle-error.ts";

/** What the checks look at. */
export interface Patient {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** The effective configuration, or why there is none. */
  readonly config: { readonly type: "loaded"; readonly loaded: LoadedConfig } | { readonly type: "refused"; readonly error: FettleError };
  /** In front of /proc, /sys and /dev; empty except in tests. */
  readonly root: string;
}
