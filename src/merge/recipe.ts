import { readFileSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { LineCounter, parseDocument } from "yaml";
import { z } from "zod";
import { type Diagnostic, FettleError, reasonOf, type Where } from "../errors/fettle-error.ts";
import type { MergeRequest } from "./merge-request.ts";

const maxRecipeBytes = 1_000_000;
const strength = z.number().min(-10).max(10);
const localFile = z
  .string()
  .min(1)
  .max(4096)
  .refine((path) => !/^[a-z]+:\/\//i.test(path), { message: "expected a local file; a URL is not downloaded here" });

const lora = z
  .strictObject({
    path: localFile,
    scale: strength.default(1).meta({ description: "Strength on all parts." }),
    unet: strength.optional(),
    te: strength.optional().meta({ description: "Strength on the text encoders; default: scale." }),
  })
  .or(localFile.transform((path) => ({ path, scale: 1 })));

const template = z.object({
  name: z.string().min(1).max(200).optional(),
  checkpoint: localFile,
  loras: z.array(lora).max(100).default([]),
  output: z.string().min(1).max(4096).optional().meta({ description: "Default: NAME.safetensors in the output folder." }),
});

/** templates.json: templates by name, or a list of them that have names, bare or under `templates`. Keys that merging does not use are left alone. */
const recipe = z.record(z.string(), template).or(z.array(template));

/** Reads a recipe; relative paths begin at its folder, outputs at `outDir`. Templates without LoRAs are nothing to merge and left out. */
export function loadRecipe(path: string, { outDir }: { readonly outDir: string }): MergeRequest[] {
  const text = read(path);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, logLevel: "silent", uniqueKeys: true });
  const [broken] = document.errors;
  if (broken) throw invalid(path, broken.message.split("\n")[0] ?? "", { file: path, ...place(lines, broken.pos[0]) });
  const value: unknown = document.toJS({ maxAliasCount: 100 });
  const nested = typeof value === "object" && value !== null && "templates" in value;
  const parsed = recipe.safeParse(nested ? value.templates : value);
  if (!parsed.success) {
    const mistakes = flatten(parsed.error.issues).map(({ path: at, message }): Diagnostic => {
      const full = nested ? ["templates", ...at] : at;
      const node = document.getIn(full, true) as { readonly range?: readonly [number, number, number] } | undefined;
      const where = { file: path, path: full.join("."), ...(node?.range && place(lines, node.range[0])) };
      return { code: "merge.invalid-recipe", message: `Cannot use recipe ${path}: ${message}.`, where };
    });
    const [first, ...others] = mistakes;
    throw new FettleError("merge.invalid-recipe", first?.message ?? `Cannot use recipe ${path}.`, { ...(first?.where && { where: first.where }), others });
  }
  return toRequests(parsed.data, path, outDir);
}

function toRequests(templates: z.output<typeof recipe>, path: string, outDir: string): MergeRequest[] {
  const entries = Array.isArray(templates) ? templates.map((one, index) => [one.name ?? `template-${index + 1}`, one] as const) : Object.entries(templates);
  const from = (folder: string, file: string) => (isAbsolute(file) ? file : join(folder, file));
  const requests = entries.map(([name, one]) => ({
    name,
    base: from(dirname(path), one.checkpoint),
    loras: one.loras.map(({ path: file, scale, ...parts }) => ({
      path: from(dirname(path), file),
      unet: ("unet" in parts ? parts.unet : undefined) ?? scale,
      te: ("te" in parts ? parts.te : undefined) ?? scale,
    })),
    out: from(outDir, one.output ?? `${name.replaceAll(/[^\w.-]+/g, "-")}.safetensors`),
  }));
  const outputs = new Map<string, string>();
  for (const { name, out } of requests) {
    const other = outputs.get(out);
    if (other !== undefined) throw invalid(path, `the templates "${other}" and "${name}" both write ${out}`, { file: path });
    outputs.set(out, name);
  }
  return requests.filter(({ loras }) => loras.length > 0);
}

function read(path: string): string {
  try {
    const text = readFileSync(path, "utf8");
    if (text.length <= maxRecipeBytes) return text;
  } catch (error) {
    throw new FettleError("merge.invalid-recipe", `Cannot read recipe ${path}: ${reasonOf(error)}.`, { hint: "Check the path.", cause: error });
  }
  throw invalid(path, `it is larger than ${maxRecipeBytes} bytes`, { file: path });
}

const invalid = (path: string, reason: string, where: Where): FettleError =>
  new FettleError("merge.invalid-recipe", `Cannot use recipe ${path}: ${reason}.`, { where });

function place(lines: LineCounter, offset: number): { line: number; column: number } {
  const { line, col } = lines.linePos(offset);
  return { line, column: col };
}

/** zod reports a union as one issue; the mistake is in the branch that got furthest. */
function flatten(issues: readonly z.core.$ZodIssue[]): { path: (string | number)[]; message: string }[] {
  return issues.flatMap((issue) => {
    const path = issue.path.filter((part) => typeof part !== "symbol");
    if (issue.code !== "invalid_union") return [{ path, message: `${path.join(".") || "it"}: ${issue.message}` }];
    const branches = issue.errors.map((branch) => flatten(branch)).filter((branch) => branch.length > 0);
    const depth = (branch: { path: unknown[] }[]) => Math.max(...branch.map((one) => one.path.length));
    const [best] = branches.toSorted((a, b) => depth(b) - depth(a));
    return (best ?? []).map((one) => {
      const full = [...path, ...one.path];
      return { path: full, message: `${full.join(".")}: ${one.message.replace(/^.*?: /, "")}` };
    });
  });
}
