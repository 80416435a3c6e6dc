import { open, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

const folderStamp = z.object({ "fettle.recipe": z.string(), files: z.record(z.string(), z.number()) });

/** What lies in an output's place: a whole model and the recipe id that it carries, or something that cannot be used. */
export type MergedLook =
  | { readonly type: "none" }
  | { readonly type: "whole"; readonly recipe: string }
  /** `reason` ends a sentence about it. */
  | { readonly type: "unusable"; readonly reason: string };

/** Reads a single file's header, or what a diffusers folder lists; none of the weights. */
export async function lookAtMerged(out: string): Promise<MergedLook> {
  const found = await stat(out).catch(() => undefined);
  if (!found) return { type: "none" };
  try {
    return await (found.isDirectory() ? lookAtFolder(out) : lookAtFile(out));
  } catch {
    return unusable(found.isDirectory() ? "it has no fettle.json that can be read" : "its header cannot be read");
  }
}

/** The recipe id that a whole merged output carries (a single file, or a diffusers folder); undefined when there is none. */
export async function readStamp(out: string): Promise<string | undefined> {
  const look = await lookAtMerged(out);
  return look.type === "whole" ? look.recipe : undefined;
}

/** Every file that the folder lists must be there with its length: somebody may have copied half of it. */
async function lookAtFolder(out: string): Promise<MergedLook> {
  const { "fettle.recipe": recipe, files } = folderStamp.parse(JSON.parse(await readFile(join(out, "fettle.json"), "utf8")));
  for (const [name, size] of Object.entries(files)) {
    const found = await stat(join(out, name)).catch(() => undefined);
    if (!found) return unusable(`its ${name} is missing`);
    if (found.size !== size) return unusable(`its ${name} has ${found.size} bytes instead of ${size}`);
  }
  return { type: "whole", recipe };
}

async function lookAtFile(out: string): Promise<MergedLook> {
  await using file = await open(out, "r");
  const { size } = await file.stat();
  const prefix = Buffer.alloc(8);
  await file.read(prefix, 0, 8, 0);
  const length = Number(prefix.readBigUInt64LE(0));
  if (length > 100_000_000 || 8 + length > size) return unusable(`it ends inside its header, after ${size} bytes`);
  const header = Buffer.alloc(length);
  await file.read(header, 0, length, 8);
  const { __metadata__: metadata, ...tensors } = JSON.parse(header.toString("utf8")) as Record<string, Record<string, unknown>>;
  const end = Object.values(tensors).reduce((last, one) => Math.max(last, (one["data_offsets"] as [number, number])[1]), 0);
  if (8 + length + end !== size) return unusable(`it has ${size} bytes instead of ${8 + length + end}`);
  const recipe = metadata?.["fettle.recipe"];
  return typeof recipe === "string" ? { type: "whole", recipe } : unusable("it carries no recipe");
}

const unusable = (reason: string): MergedLook => ({ type: "unusable", reason });
