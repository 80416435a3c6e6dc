import type { EnvelopeLimits } from "../envelope.ts";
import type { RunpodSourceConfig } from "../../config/schema/sources.ts";

export { FileSource } from "./file.ts";
export { HttpSource } from "./http.ts";
export { RunpodSource } from "./runpod.ts";

/** `auto` means: on a machine of the platform, which names itself by a take URL. */
export function isRunpodOn(config: RunpodSourceConfig | undefined): config is RunpodSourceConfig {
  if (!config) return false;
  return config.enabled === "auto" ? config.takeUrl !== "" : config.enabled;
}

/** An input's own depth is bounded by the config; the envelope around it is one level more. */
export function envelopeLimits(jobs: { readonly maxDepth: number; readonly maxInput: number }): EnvelopeLimits {
  return { maxDepth: jobs.maxDepth + 1, maxBytes: jobs.maxInput };
}
