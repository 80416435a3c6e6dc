import { dirname, isAbsolute, join, resolve } from "node:path";
import type { z } from "zod";
import { diagnose } from "../config/diagnose.ts";
import { parseYaml } from "../config/parse-yaml.ts";
import { readSourceFile } from "../config/source-file.ts";
import { type MapTree, type Path, type Tree, toValue, treeAt, whereOf } from "../config/tree.ts";
import { type Diagnostic, FettleError } from "../errors/fettle-error.ts";
import type { WantedModel } from "../models/fetch-model.ts";
import { parseModelSource } from "../models/model-source.ts";
import { suggest } from "../util/suggest.ts";
import type { OutputDtype, OutputFormat } from "./merge-request.ts";
import { isPlain, type MergeTemplate, type TemplateLora } from "./merge-template.ts";
import { loraKeys, type RecipeTemplate, templateKeys, templates as templatesSchema } from "./recipe-schema.ts";

export interface OutputOptions {
  /** Outputs begin here. */
  readonly outDir: string;
  /** For templates that do not say it themselves. */
  readonly format?: OutputFormat | undefined;
  readonly dtype?: OutputDtype | undefined;
  /** Also those with nothing to merge. */
  readonly plain?: boolean;
}

export interface RecipeOptions extends OutputOptions {
  readonly cwd: string;
}

/**
 * Reads templates.json, or the same as YAML; relative paths begin at its folder. Templates with nothing to merge are left out.
 * Throws `merge.invalid-recipe` with every mistake and its place.
 */
export function loadRecipe(path: string, options: RecipeOptions): MergeTemplate[] {
  return openRecipe(path, options.cwd)(options);
}

/** The same for several outputs of one file, which is read and checked once. */
export function openRecipe(path: string, cwd: string): (options: OutputOptions) => MergeTemplate[] {
  const { tree, value } = readTree(path, cwd);
  const nested: Path = tree.kind === "map" && tree.entries.has("templates") ? ["templates"] : [];
  const parsed = templatesSchema.safeParse(nested.length > 0 ? (value as { templates: unknown }).templates : value);
  const found: Diagnostic[] = [];
  if (!parsed.success) {
    const issues = parsed.error.issues.map((issue): z.core.$ZodIssue => ({ ...issue, path: [...nested, ...issue.path] }));
    found.push(...diagnose(unwrap(issues), { schema: templatesSchema, tree, value }));
  }
  found.push(...misspelt(tree, nested));
  if (found.length > 0) throw asError(found);
  const entries = parsed.success ? named(parsed.data) : [];
  const from = dirname(isAbsolute(path) ? path : join(cwd, path));
  return (options) => {
    const all = entries.map(([name, one]) => toTemplate(name, one, from, options));
    refuseSameOutputs(all, tree, nested);
    return options.plain ? all : all.filter((one) => !isPlain(one));
  };
}

function readTree(path: string, cwd: string): { tree: Tree; value: unknown } {
  try {
    const source = readSourceFile(path, cwd);
    const { tree, errors } = parseYaml(source);
    if (errors.length > 0) throw asError(errors);
    if (!tree) throw asError([{ code: "merge.invalid-recipe", message: "Cannot use config: it is empty.", where: { file: source.file } }]);
    return { tree, value: toValue(tree) };
  } catch (error) {
    if (!(error instanceof FettleError) || error.code === "merge.invalid-recipe") throw error;
    const { code, message, where, hint } = error;
    throw asError([{ code, message, ...(where && { where }), ...(code !== "config.not-found" && { hint }) }]);
  }
}

/** The configuration's own words for mistakes, about a recipe. */
function asError(found: readonly Diagnostic[]): FettleError {
  const [first, ...others] = found.map(({ message, where, ...rest }): Diagnostic => ({
    ...rest,
    code: "merge.invalid-recipe",
    message: withoutSecrets(message.replace(/^Cannot (use|read) config/, "Cannot $1 recipe")),
    ...(where && { where: where.source === undefined ? where : { ...where, source: withoutSecrets(where.source) } }),
  }));
  return new FettleError("merge.invalid-recipe", first?.message ?? "Cannot use recipe.", {
    ...(first?.where && { where: first.where }),
    ...(first?.hint && { hint: first.hint }),
    others,
  });
}

/** A drawn line may hold a URL with a token or a password. As many stars as letters, so that the mark under the line keeps its place. */
const withoutSecrets = (text: string): string =>
  text.replace(/(?<=[?&](?:token|api_?key|sig|signature)=)[^&\s"',}\]]+|(?<=:\/\/[^\s/"']*:)[^\s/"'@]+(?=@)/gi, (secret) => "*".repeat(secret.length));

/** A union's issue is about the whole: what one of its branches found deeper down says more. */
function unwrap(issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue[] {
  return issues.flatMap((issue) => {
    if (issue.code !== "invalid_union") return [issue];
    const deeper = issue.errors.filter((branch) => branch.some(({ path }) => path.length > 0)).toSorted((a, b) => depth(b) - depth(a));
    const keys = issue.errors.find((branch) => branch.length > 0 && branch.every(({ code }) => code === "unrecognized_keys" || code === "custom"));
    const best = deeper[0] ?? keys;
    return best ? unwrap(best.map((one): z.core.$ZodIssue => ({ ...one, path: [...issue.path, ...one.path] }))) : [issue];
  });
}

const depth = (branch: readonly z.core.$ZodIssue[]): number => Math.max(...branch.map(({ path }) => path.length));

/** Keys of others are welcome (steps, prompts …), but one that is nearly ours would be a LoRA that is silently not merged. */
function misspelt(tree: Tree, nested: Path): Diagnostic[] {
  const root = treeAt(tree, nested).tree;
  const templates = root.kind === "map" ? [...root.entries].map(([, { value }]) => value) : root.kind === "list" ? root.items : [];
  return templates.flatMap((one) => {
    if (one.kind !== "map") return [];
    const loras = one.entries.get("loras")?.value;
    const inner = loras?.kind === "list" ? loras.items.filter((lora): lora is MapTree => lora.kind === "map") : [];
    return [...nearKeys(one, templateKeys), ...inner.flatMap((lora) => nearKeys(lora, loraKeys))];
  });
}

function nearKeys(map: MapTree, known: readonly string[]): Diagnostic[] {
  return [...map.entries].flatMap(([key, entry]): Diagnostic[] => {
    const near =
      known.includes(key) || key.length < 4
        ? undefined
        : suggest(
            key,
            known.filter((one) => !map.entries.has(one)),
          );
    if (!near) return [];
    return [{ code: "merge.invalid-recipe", message: `Cannot use recipe: unknown key "${key}".`, hint: `Did you mean "${near}"?`, where: whereOf(entry.key) }];
  });
}

function named(parsed: z.output<typeof templatesSchema>): (readonly [string, RecipeTemplate])[] {
  if (!Array.isArray(parsed)) return Object.entries(parsed);
  return parsed.map((one, index) => [one.name ?? `template-${index + 1}`, one]);
}

function toTemplate(name: string, one: RecipeTemplate, from: string, options: OutputOptions): MergeTemplate {
  const format = one.format ?? options.format ?? "single";
  const fallback = `${name.replaceAll(/[^\w.-]+/g, "-").replace(/^\.+/, "")}${format === "single" ? ".safetensors" : ""}`;
  const out = one.output ?? fallback;
  const { baseWeight, variant, shardBytes, configDir, title } = one;
  const own = {
    ...(baseWeight !== undefined && { baseWeight }),
    ...(variant !== undefined && { variant }),
    ...(shardBytes !== undefined && { shardBytes }),
    ...(configDir !== undefined && { configDir: resolve(from, configDir) }),
    ...(title !== undefined && { title }),
  };
  return {
    name,
    ...own,
    out: isAbsolute(out) ? out : join(options.outDir, out),
    checkpoint: wantedModel(one.checkpoint.path, from, one.checkpoint.sha256),
    loras: one.loras.map((lora) => ({ model: wantedModel(lora.path, from, "sha256" in lora ? lora.sha256 : undefined), ...strengthsOf(lora) })),
    terms: one.add.map(({ path, weight, sha256 }) => ({ model: wantedModel(path, from, sha256), weight })),
    ...(one.vae && { vae: wantedModel(one.vae.path, from, one.vae.sha256) }),
    format,
    dtype: one.dtype ?? options.dtype ?? "keep",
  };
}

type Parts = Pick<TemplateLora, "unet" | "te" | "te1" | "te2" | "te3" | "blocks">;
export type Strengths = { readonly [Key in keyof Parts]?: Parts[Key] | undefined } & { readonly scale: number };

/** `scale` for whatever has no strength of its own. */
export function strengthsOf({ scale, unet = scale, te = scale, te1, te2, te3, blocks }: Strengths): Parts {
  const each = { ...(te1 !== undefined && { te1 }), ...(te2 !== undefined && { te2 }), ...(te3 !== undefined && { te3 }) };
  return { unet, te, ...each, ...(blocks && { blocks }) };
}

/** A source whose local path begins at `from`. Throws `model.bad-source`. */
export function wantedModel(text: string, from: string, sha256?: string): WantedModel {
  const source = parseModelSource(text);
  if (source.kind === "bad") throw new FettleError("model.bad-source", `Cannot use "${text.slice(0, 200)}": ${source.reason}.`);
  const placed = source.kind === "file" && !isAbsolute(source.path) ? { ...source, path: join(from, source.path) } : source;
  return { source: placed, ...(sha256 && { sha256 }) };
}

function refuseSameOutputs(all: readonly MergeTemplate[], tree: Tree, nested: Path): void {
  const seen = new Map<string, string>();
  for (const [index, { name, out }] of all.entries()) {
    const other = seen.get(out);
    const root = treeAt(tree, nested).tree;
    const at = treeAt(tree, [...nested, root.kind === "list" ? index : name]);
    if (other !== undefined)
      throw asError([
        {
          code: "merge.invalid-recipe",
          message: `Cannot use recipe: the templates "${other}" and "${name}" both write ${out}.`,
          where: whereOf(at.key ?? at.tree.place),
        },
      ]);
    seen.set(out, name);
  }
}
