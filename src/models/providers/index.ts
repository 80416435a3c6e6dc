import type { ModelSource } from "../model-source.ts";
import type { ModelSettings } from "../settings.ts";
import { civitai } from "./civitai.ts";
import { http } from "./http.ts";
import { huggingface } from "./huggingface.ts";
import type { Remote } from "./provider.ts";

export type RemoteSource = Exclude<ModelSource, { readonly kind: "file" }>;

export function locate(source: RemoteSource, settings: ModelSettings, options: { signal: AbortSignal }): Promise<Remote> {
  switch (source.kind) {
    case "huggingface":
      return huggingface.locate(source, settings, options);
    case "civitai":
      return civitai.locate(source, settings, options);
    case "http":
      return http.locate(source, settings, options);
  }
}
