import { chmod, lstat, mkdir, stat } from "node:fs/promises";
import { FettleError, reasonOf } from "../../errors/fettle-error.ts";

/** Makes the folders that are missing, with those above them. A link to a folder counts as one. `mode` holds for existing ones too. */
export async function makeDirectories(paths: readonly string[], mode: number | undefined): Promise<string[]> {
  const lines: string[] = [];
  const made: string[] = [];
  for (const path of paths) {
    try {
      const isNew = (await mkdir(path, { recursive: true })) !== undefined;
      if (isNew) made.push(path);
      if (mode !== undefined && ((await stat(path)).mode & 0o7777) !== mode) {
        await chmod(path, mode);
        if (!isNew) lines.push(`set the rights of ${path} to ${mode.toString(8)}`);
      }
    } catch (error) {
      throw new FettleError("phase.cannot-write", `Cannot make the folder ${path}: ${await whyNot(path, error)}.`, { cause: error });
    }
  }
  if (made.length > 0) lines.unshift(`made ${made.length === 1 ? "" : `${made.length} folders: `}${made.join(", ")}`);
  return lines;
}

async function whyNot(path: string, error: unknown): Promise<string> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isSymbolicLink()) return "a link that leads nowhere has that name";
  return found && !found.isDirectory() ? "a file has that name" : reasonOf(error);
}
