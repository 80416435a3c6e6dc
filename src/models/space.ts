import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { Fault } from "./fault.ts";

const mostReserveBytes = 256 * 1024 * 1024;

/** Free bytes for this user where `path` lies or will lie; undefined where the system does not say. */
export async function freeBytes(path: string): Promise<number | undefined> {
  for (let at = path; ; at = dirname(at)) {
    try {
      const { bavail, bsize, blocks } = await statfs(at);
      // Some network volumes say 0 of 0.
      return blocks === 0 ? undefined : bavail * bsize;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || at === dirname(at)) return undefined;
    }
  }
}

/** Throws `Fault` when so many bytes, and a small reserve, do not fit. */
export async function ensureSpace(dir: string, neededBytes: number): Promise<void> {
  if (neededBytes <= 0) return;
  const free = await freeBytes(dir);
  const needed = neededBytes + Math.min(mostReserveBytes, Math.ceil(neededBytes / 16));
  if (free !== undefined && free < needed)
    throw new Fault("model.no-space", `${dir} has ${free} bytes free, it needs ${needed}`, { hint: "Free some space, or name another folder with --cache." });
}
