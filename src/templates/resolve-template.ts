// templates/ owns a template's files at run time: its merged model, or its checkpoint, LoRAs and VAE, downloaded when they are missing.
// Takes: templates.json, folders, a name. Gives: paths, and why something could not be had. Must not know engines or jobs.
// The bundled engine runs it as `fettle template`; helper/templates.py of that engine is its other end.
import { FettleError } from "../errors/fettle-error.ts";
import { loadRecipe } from "../merge/recipe.ts";
import { type MergeTemplate, recipeId } from "../merge/merge-template.ts";
import { type FetchEvent, fetchModel, type WantedModel } from "../models/fetch-model.ts";
import type { ModelSettings } from "../models/settings.ts";
import { suggest } from "../util/suggest.ts";
import { findMerged, type MergedPlaces } from "./find-merged.ts";
import { placeInput, showInput } from "./place-input.ts";
import { vaeFor } from "./vae-for.ts";

export type FileKind = "checkpoint" | "lora" | "vae";

export type TemplateEvent =
  | { readonly type: "progress"; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly type: "authentication"; readonly provider: "civitai" | "huggingface"; readonly state: "missing" | "set" | "accepted" | "refused" }
  | {
      readonly type: "file";
      readonly kind: FileKind;
      readonly source: string;
      readonly outcome: "there" | "downloaded" | "failed";
      readonly sizeBytes?: number;
      readonly ms: number;
      readonly code?: string;
      readonly message?: string;
    };

export interface FoundFile {
  readonly source: string;
  readonly path?: string;
  readonly error?: string;
}

export interface ResolvedTemplate {
  readonly name: string;
  readonly checkpoint: FoundFile;
  readonly loras: readonly (FoundFile & { readonly unet: number; readonly te1: number; readonly te2: number; readonly blocks?: true })[];
  readonly vae?: FoundFile;
  readonly merged?: string;
  readonly recipe: string;
  readonly warnings: readonly string[];
}

export interface ResolveOptions extends MergedPlaces {
  /** Where a relative path is looked for, after the templates' own folder. */
  readonly modelsDir: string;
  /** A VAE for templates that name none. */
  readonly vae: WantedModel | undefined;
  /** Do not look for a merged model: the one that is there cannot be loaded. */
  readonly baseOnly: boolean;
  readonly models: ModelSettings;
  readonly onEvent: (event: TemplateEvent) => void;
  readonly signal: AbortSignal;
}

/**
 * Finds the merged model, else fetches what the template names; a file that cannot be had is told in its place. An empty name stands for the
 * first template. Throws for one that is not there.
 */
export async function resolveTemplate(wanted: string, options: ResolveOptions): Promise<ResolvedTemplate> {
  const template = templateOf(wanted, options);
  const { name } = template;
  const found = options.baseOnly ? ({ type: "none" } as const) : await findMerged(name, options);
  const warnings = found.type === "unused" ? [`The merged model ${found.path} was not used: ${found.reason}.`] : [];
  const isMerged = found.type === "found";
  const fetch = new Fetching(options);
  // Of a merged model nothing else is needed; the VAE may be, when the merge did not put one in.
  const file = (kind: FileKind, model: WantedModel) => (isMerged ? Promise.resolve({ source: showInput(model, options) }) : fetch.file(kind, model));
  const wantedVae = vaeFor(template, { isMerged, usualVae: options.vae });
  const [checkpoint, vae, ...loras] = await Promise.all([
    file("checkpoint", template.checkpoint),
    wantedVae && fetch.file("vae", wantedVae),
    ...template.loras.map(async ({ model, unet, te, te1 = te, te2 = te, blocks }) => {
      return { ...(await file("lora", model)), unet, te1, te2, ...(blocks && { blocks: true as const }) };
    }),
  ]);
  options.signal.throwIfAborted();
  if (template.terms.length > 0 && !isMerged) warnings.push("The other checkpoints of its sum are only added by fettle merge; it ran without them.");
  if (vae?.error !== undefined) warnings.push(`The VAE ${vae.source} was not used: ${vae.error}`);
  return {
    name,
    checkpoint,
    loras,
    ...(vae && { vae }),
    ...(isMerged && { merged: found.path }),
    recipe: isMerged ? found.recipe : recipeId(template),
    warnings,
  };
}

function templateOf(name: string, { file, cwd, modelsDir }: ResolveOptions): MergeTemplate {
  const all = loadRecipe(file, { cwd, outDir: modelsDir, plain: true });
  const template = name === "" ? all[0] : all.find((one) => one.name === name);
  if (template) return template;
  const names = all.map((one) => one.name);
  const near = suggest(name, names);
  throw new FettleError("job.invalid", `Cannot use template "${name.slice(0, 60)}": ${file} has ${names.join(", ") || "none"}.`, {
    ...(near !== undefined && { hint: `Did you mean "${near}"?` }),
  });
}

const sayEveryMs = 250;

/** Fetches the files of one template side by side and sums up their bytes. */
class Fetching {
  readonly #options: ResolveOptions;
  #doneBytes = 0;
  #totalBytes = 0;
  #saidMs = 0;

  constructor(options: ResolveOptions) {
    this.#options = options;
  }

  async file(kind: FileKind, wanted: WantedModel): Promise<FoundFile> {
    const { models, onEvent, signal } = this.#options;
    const startedMs = performance.now();
    const source = showInput(wanted, this.#options);
    const tell = (event: object) => onEvent({ type: "file", kind, source, ms: Math.round(performance.now() - startedMs), ...event } as TemplateEvent);
    const auth = this.#authentication(wanted);
    auth?.(models[auth.provider].token === undefined ? "missing" : "set");
    try {
      const { path, from, sizeBytes } = await fetchModel(placeInput(wanted, this.#options), models, { signal, onEvent: (event) => this.#count(event) });
      tell({ outcome: from === "network" ? "downloaded" : "there", sizeBytes });
      if (from === "network" && models[auth?.provider ?? "civitai"].token !== undefined) auth?.("accepted");
      return { source, path };
    } catch (error) {
      if (!(error instanceof FettleError)) throw error;
      tell({ outcome: "failed", code: error.code, message: error.message });
      if (error.code === "model.unauthorized" || error.code === "model.forbidden") auth?.("refused");
      return { source, error: [error.message, error.hint].filter(Boolean).join(" ") };
    }
  }

  #authentication({ source: { kind } }: WantedModel) {
    if (kind !== "civitai" && kind !== "huggingface") return undefined;
    const { onEvent } = this.#options;
    const say = (state: "missing" | "set" | "accepted" | "refused") => onEvent({ type: "authentication", provider: kind, state });
    return Object.assign(say, { provider: kind });
  }

  #count(event: FetchEvent): void {
    if (event.type === "found") {
      this.#totalBytes += event.sizeBytes ?? 0;
      this.#doneBytes += event.resumedBytes;
    } else if (event.type === "bytes") this.#doneBytes += event.count;
    else return;
    const now = performance.now();
    if (now - this.#saidMs < sayEveryMs) return;
    this.#saidMs = now;
    this.#options.onEvent({ type: "progress", doneBytes: this.#doneBytes, totalBytes: this.#totalBytes });
  }
}
