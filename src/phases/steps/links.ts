import { randomBytes } from "node:crypto";
import { cp, lstat, mkdir, readdir, readlink, rename, rm, rmdir, stat, symlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import type { StepLink } from "../../plan/step.ts";

/** Above this a folder that cannot be renamed (the lower layer of a container's disk) is not copied aside. */
const maxCopyBytes = 256 << 20;

/** Makes each link lead to its target. A right link is kept, a wrong one replaced in one stroke; a real folder is never destroyed. */
export async function makeLinks(links: readonly StepLink[], onFolder: "move" | "keep" | "fail"): Promise<string[]> {
  const lines: string[] = [];
  for (const { path: link, to: target } of links) {
    try {
      lines.push(...(await makeLink(link, target, onFolder)));
    } catch (error) {
      if (error instanceof FettleError) throw error;
      throw new FettleError("phase.cannot-link", `Cannot link ${link} to ${target}: ${reasonOf(error)}.`, { cause: error });
    }
  }
  return lines;
}

async function makeLink(link: string, target: string, onFolder: "move" | "keep" | "fail"): Promise<string[]> {
  const cannot = (reason: string, hint?: string) => new FettleError("phase.cannot-link", `Cannot link ${link} to ${target}: ${reason}.`, hint ? { hint } : {});
  const goal = resolve(dirname(link), target);
  // A link to a folder that does not exist would make every program behind it fail, one by one.
  if (!(await stat(goal).catch(() => undefined))) throw cannot(`${target} does not exist`, "Let a step before this one make it.");
  const parent = await stat(dirname(link)).catch(() => undefined);
  if (!parent?.isDirectory()) throw cannot(`the folder ${dirname(link)} does not exist`, "Install what belongs there first.");
  const found = await lstat(link).catch(() => undefined);
  if (found?.isSymbolicLink()) {
    const old = await readlink(link);
    if (resolve(dirname(link), old) === goal) return [];
    await placeLink(link, target);
    return [`linked ${link} → ${target} (it led to ${old})`];
  }
  if (!found) {
    await placeLink(link, target);
    return [`linked ${link} → ${target}`];
  }
  if (resolve(link) === goal) throw cannot("it would lead to itself");
  const what = found.isDirectory() ? "a real folder" : "a file";
  if (onFolder === "fail") throw cannot(`${what} stands there`, `Move it away: mv ${link} ${link}.before-link`);
  if (onFolder === "keep") return [`[WARNING] kept ${link}, which is ${what}: it does not lead to ${target}`];
  if (found.isDirectory() && (await removeIfEmpty(link))) {
    await placeLink(link, target);
    return [`linked ${link} → ${target} (an empty folder stood there)`];
  }
  const aside = await freeName(`${link}.before-link`);
  if (!(await moveAside(link, aside))) return [`[WARNING] kept ${link}, ${what} of the image that is too large to move: it does not lead to ${target}`];
  await placeLink(link, target);
  return [`moved ${link}, ${what}, to ${aside}`, `linked ${link} → ${target}`];
}

/** By rename, so that no moment is without the link. */
async function placeLink(link: string, target: string): Promise<void> {
  const temporary = `${link}.${randomBytes(3).toString("hex")}.tmp`;
  await mkdir(dirname(link), { recursive: true });
  await symlink(target, temporary);
  try {
    await rename(temporary, link);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function removeIfEmpty(folder: string): Promise<boolean> {
  return await rmdir(folder).then(
    () => true,
    () => false,
  );
}

/** A folder of an overlay's lower layer cannot be renamed (EXDEV): then it is copied, if that is not too much. */
async function moveAside(path: string, aside: string): Promise<boolean> {
  try {
    await rename(path, aside);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
  }
  if ((await sizeOf(path)) > maxCopyBytes) return false;
  await cp(path, aside, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
  await rm(path, { recursive: true });
  return true;
}

async function sizeOf(path: string): Promise<number> {
  const found = await lstat(path);
  if (!found.isDirectory()) return found.size;
  let sizeBytes = 0;
  for (const name of await readdir(path)) {
    sizeBytes += await sizeOf(join(path, name));
    if (sizeBytes > maxCopyBytes) break;
  }
  return sizeBytes;
}

async function freeName(wanted: string): Promise<string> {
  for (let number = 1; ; number++) {
    const name = number === 1 ? wanted : `${wanted}-${number}`;
    if (!(await lstat(name).catch(() => undefined))) return name;
  }
}
