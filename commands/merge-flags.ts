import { basename, dirname, join, resolve } from "node:path";
import { FettleError } from "../src/errors/fettle-error.ts";
import { isPlain, type MergeTemplate } from "../src/merge/merge-template.ts";
import type { OutputDtype, OutputFormat } from "../src/merge/merge-request.ts";
import { parseLora } from "../src/merge/parse-lora.ts";
import { type Args, textFlag } from "./command.ts";

const dtypes: readonly string[] = ["keep", "fp16", "bf16", "fp32", "fp8_e4m3fn", "fp8_e5m2"] satisfies readonly OutputDtype[];
const formats: readonly string[] = ["single", "diffusers"] satisfies readonly OutputFormat[];

/** What shall be merged: a recipe's templates (all, or those that --only names), or the one that flags describe. */
export async function templatesOf(args: Args, cwd: string): Promise<MergeTemplate[]> {
  const [recipe] = args.positionals;
  const format = choice<OutputFormat>(args, "outputFormat", "output-format", formats);
  const dtype = choice<OutputDtype>(args, "dtype", "dtype", dtypes);
  if (recipe === undefined) return [await fromFlags(args, cwd, { format, dtype })];
  const own = ["base", "lora", "vae", "configDir"].find((key) => args.flags[key] !== undefined);
  if (own) throw new FettleError("cli.bad-value", `Cannot run merge: a recipe and --${own === "configDir" ? "config-dir" : own} exclude each other.`);
  const { loadRecipe } = await import("../src/merge/recipe.ts");
  const out = textFlag(args, "out");
  const outDir = out === undefined ? join(dirname(resolve(cwd, recipe)), "merged") : resolve(cwd, out);
  return chosen(loadRecipe(recipe, { cwd, outDir, format, dtype }), list(args, "only"));
}

function chosen(all: readonly MergeTemplate[], only: readonly string[]): MergeTemplate[] {
  const unknown = only.find((name) => !all.some((one) => one.name === name));
  if (unknown !== undefined)
    throw new FettleError("cli.bad-value", `Cannot merge "${unknown}": the recipe has no such template to merge.`, {
      hint: `Templates here: ${all.map(({ name }) => name).join(", ") || "none"}.`,
    });
  return all.filter(({ name }) => only.length === 0 || only.includes(name));
}

async function fromFlags(args: Args, cwd: string, { format = "single", dtype = "keep" }: { format: OutputFormat | undefined; dtype: OutputDtype | undefined }) {
  const base = textFlag(args, "base");
  const out = textFlag(args, "out");
  const vae = textFlag(args, "vae");
  const configDir = textFlag(args, "configDir");
  if (list(args, "only").length > 0) throw new FettleError("cli.bad-value", "Cannot run merge: --only chooses from a recipe, and none is given.");
  if (base === undefined || out === undefined) throw new FettleError("cli.bad-value", "Cannot run merge: give a recipe, or --base, --lora and --out.");
  const { wantedModel, strengthsOf } = await import("../src/merge/recipe.ts");
  const { blocks: blocksSchema } = await import("../src/merge/recipe-schema.ts");
  const loras = list(args, "lora").map((text) => {
    const { source, blocks: list, sha256, ...strengths } = parseLora(text);
    const blocks = list === undefined ? undefined : blocksSchema.safeParse(list);
    if (blocks && !blocks.success)
      throw new FettleError("cli.bad-value", `Cannot use --lora ${text}: lbw= needs 12, 17, 20, 26 or 61 numbers with commas between.`);
    const wrong = Object.values(strengths).find((one) => !(Math.abs(one) <= 10));
    if (wrong !== undefined) throw new FettleError("cli.bad-value", `Cannot use --lora ${text}: expected strengths from -10 to 10.`);
    if (sha256 !== undefined && !/^[0-9a-fA-F]{64}$/.test(sha256))
      throw new FettleError("cli.bad-value", `Cannot use --lora ${text}: expected a sha256 of 64 hexadecimal digits.`);
    return { model: wantedModel(source, cwd, sha256?.toLowerCase()), ...strengthsOf({ ...strengths, blocks: blocks?.data }) };
  });
  const template: MergeTemplate = {
    name: basename(out),
    checkpoint: wantedModel(base, cwd),
    loras,
    terms: [],
    ...(vae !== undefined && { vae: wantedModel(vae, cwd) }),
    ...(configDir !== undefined && { configDir: resolve(cwd, configDir) }),
    out: resolve(cwd, out),
    format,
    dtype,
  };
  if (isPlain(template)) throw new FettleError("cli.bad-value", "Cannot run merge: there is nothing to merge; give --lora, --vae, --dtype or --output-format.");
  return template;
}

function choice<T extends string>(args: Args, key: string, flag: string, known: readonly string[]): T | undefined {
  const value = textFlag(args, key);
  if (value === undefined || known.includes(value)) return value as T | undefined;
  throw new FettleError("cli.bad-value", `Cannot use --${flag} ${value}: expected one of ${known.join(", ")}.`);
}

const list = (args: Args, key: string): readonly string[] => (args.flags[key] ?? []) as readonly string[];
