import { open, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

const folderStamp = z.object({ "fettle.recipe": z.string(), files: z.record(z.string(), z.number()) });

/** The recipe id that a whole merged output carries (a single file, or a diffusers folder); undefined when there is none. */
export async function readStamp(out: string): Promise<string | undefined> {
  try {
    return (await stat(out)).isDirectory() ? await stampOfFolder(out) : await stampOfFile(out);
  } catch {
    return undefined;
  }
}

/** Every file that the folder lists must be there with its length: somebody may have copied half of it. */
async function stampOfFolder(out: string): Promise<string | undefined> {
  const { "fettle.recipe": recipe, files } = folderStamp.parse(JSON.parse(await readFile(join(out, "fettle.json"), "utf8")));
  const sizes = await Promise.all(Object.entries(files).map(async ([name, size]) => (await stat(join(out, name))).size === size));
  return sizes.every(Boolean) ? recipe : undefined;
}

async function stampOfFile(out: string): Promise<string | undefined> {
  await using file = await open(out, "r");
  const { size } = await file.stat();
  const prefix = Buffer.alloc(8);
  await file.read(prefix, 0, 8, 0);
  const length = Number(prefix.readBigUInt64LE(0));
  if (length > 100_000_000 || 8 + length > size) return undefined;
  const header = Buffer.alloc(length);
  await file.read(header, 0, length, 8);
  const { __metadata__: metadata, ...tensors } = JSON.parse(header.toString("utf8")) as Record<string, Record<string, unknown>>;
  const end = Object.values(tensors).reduce((last, one) => Math.max(last, (one["data_offsets"] as [number, number])[1]), 0);
  const recipe = metadata?.["fettle.recipe"];
  return typeof recipe === "string" && 8 + length + end === size ? recipe : undefined;
}
