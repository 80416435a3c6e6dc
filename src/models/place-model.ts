import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, link, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";

/** Gives a cached file a second name: a hard link, else a reflink, else a copy. Whole or not at all; what had the name before is replaced. */
export async function placeModel(from: string, to: string): Promise<"present" | "linked" | "copied"> {
  const [source, target] = await Promise.all([stat(from), stat(to).catch(() => undefined)]);
  if (target && target.ino === source.ino && target.dev === source.dev) return "present";
  await mkdir(dirname(to), { recursive: true });
  const temporary = `${to}.${randomBytes(4).toString("hex")}.tmp`;
  try {
    const linked = await link(from, temporary).then(
      () => true,
      () => false,
    );
    if (!linked) await copyWhole(from, temporary);
    await rename(temporary, to);
    return linked ? "linked" : "copied";
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function copyWhole(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
  await using file = await open(to, "r");
  await file.sync();
}
