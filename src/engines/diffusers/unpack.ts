import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import { assets } from "./assets.ts";

/** The folder under `root` for this very content: another version of fettle uses another folder. Nothing is written. */
export function assetDirIn(root: string): string {
  const hash = createHash("sha256");
  for (const [name, text] of Object.entries(assets)) hash.update(`${name}\0${text}\0`);
  return join(root, `diffusers-${hash.digest("hex").slice(0, 16)}`);
}

/**
 * Writes the bundled Python files to `assetDirIn(root)` and gives that path; does nothing when they are there. The folder
 * appears whole by a rename, so processes that do this at the same moment do not disturb one another. Readable for everyone:
 * an engine may run as another user.
 */
export function unpackAssets(root: string): string {
  const dir = assetDirIn(root);
  if (existsSync(dir)) return dir;
  const work = `${dir}.${process.pid}-${randomBytes(3).toString("hex")}`;
  try {
    mkdirSync(work, { recursive: true, mode: 0o755 });
    for (const [name, text] of Object.entries(assets)) writeFileSync(join(work, name), text, { mode: 0o644 });
    renameSync(work, dir);
  } catch (error) {
    rmSync(work, { recursive: true, force: true });
    // Another process was faster: its folder cannot be replaced, and need not be.
    if (existsSync(dir)) return dir;
    throw new FettleError("machine.state-dir", `Cannot unpack the bundled engine into ${dir}: ${reasonOf(error)}.`, { cause: error });
  }
  return dir;
}
