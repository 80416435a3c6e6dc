import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import { unpackedDir, unpackFiles } from "../../util/unpack-files.ts";
import { assets } from "./assets.ts";

/** The folder under `root` of this very version of the bundled engine. Nothing is written. */
export function assetDirIn(root: string): string {
  return unpackedDir(root, "diffusers", assets);
}

/** Writes the bundled Python files to `assetDirIn(root)`, unless they are there, and gives that path. */
export function unpackAssets(root: string): string {
  try {
    return unpackFiles(root, "diffusers", assets);
  } catch (error) {
    throw new FettleError("machine.state-dir", `Cannot unpack the bundled engine into ${root}: ${reasonOf(error)}.`, { cause: error });
  }
}
