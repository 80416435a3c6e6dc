import { FettleError } from "../errors/fettle-error.ts";
import type { MergeTemplate } from "../merge/merge-template.ts";
import type { WantedModel } from "../models/fetch-model.ts";
import { parseModelSource } from "../models/model-source.ts";

/** The VAE to load: a merged model has its template's own in it; `usualVae` is for templates that name none. */
export function vaeFor(
  { vae }: Pick<MergeTemplate, "vae">,
  { isMerged, usualVae }: { readonly isMerged: boolean; readonly usualVae: WantedModel | undefined },
): WantedModel | undefined {
  if (vae === undefined) return usualVae;
  return isMerged ? undefined : vae;
}

/** The `vae` of an engine's configuration; empty stands for none. Throws `model.bad-source`. */
export function usualVaeOf(text: string | undefined): WantedModel | undefined {
  if (text === undefined || text === "") return undefined;
  const source = parseModelSource(text);
  if (source.kind === "bad") throw new FettleError("model.bad-source", `Cannot use the VAE "${text.slice(0, 200)}": ${source.reason}.`);
  return { source };
}
