import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import { unpackedDir, unpackFiles } from "../../util/unpack-files.ts";
import { pythonAssets } from "../python/assets.ts";
import { assets } from "./assets.ts";

/** The bundled engine, and in python/ what runs a handler of the user's own. */
export const bundle: Readonly<Record<string, string>> = {
  ...assets,
  ...Object.fromEntries(Object.entries(pythonAssets).map(([file, text]) => [`python/${file}`, text])),
};

/** The folder under `root` of this very version of the bundled Python files. Nothing is written. */
export function assetDirIn(root: string): string {
  return unpackedDir(root, "engines", bundle);
}

/** Writes the bundled Python files to `assetDirIn(root)`, unless they are there, and gives that path. */
export function unpackAssets(root: string): string {
  try {
    return unpackFiles(root, "engines", bundle);
  } catch (error) {
    throw new FettleError("machine.state-dir", `Cannot unpack the bundled engines into ${root}: ${reasonOf(error)}.`, { cause: error });
  }
}
