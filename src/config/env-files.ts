import { resolve } from "node:path";
import { parseEnv } from "node:util";
import { type Diagnostic, FettleError } from "../errors/fettle-error.ts";
import { readSourceFile } from "./source-file.ts";
import { type Environment, substitute } from "./substitute.ts";
import { type Tree, treeAt, whereOf } from "./tree.ts";

export interface EnvFiles {
  /** What the files set and the real environment does not. */
  readonly variables: Readonly<Record<string, string>>;
  readonly errors: readonly Diagnostic[];
  /** Full paths of those that were read. */
  readonly files: readonly string[];
}

/**
 * Reads the files that the key `envFiles` names, in dotenv syntax. A later file wins over an earlier one, the real environment over
 * all. A name with `-` before it may be missing. No file is read that nobody named.
 */
export function readEnvFiles(root: Tree, env: Environment, cwd: string): EnvFiles {
  const { tree, whole } = treeAt(root, ["envFiles"]);
  if (!whole || tree.kind !== "list") return { variables: {}, errors: [], files: [] };
  const variables: Record<string, string> = {};
  const errors: Diagnostic[] = [];
  const files: string[] = [];
  // Mistakes in the names themselves are found with all others, later.
  const filled = substitute(tree, env).tree;
  for (const [index, item] of (filled.kind === "list" ? filled.items : []).entries()) {
    if (item.kind !== "scalar" || typeof item.value !== "string" || item.value === "") continue;
    const path = item.value.replace(/^-/, "");
    try {
      Object.assign(variables, parseEnv(readSourceFile(path, cwd).text));
      files.push(resolve(cwd, path));
    } catch (error) {
      if (!(error instanceof FettleError)) throw error;
      if (item.value.startsWith("-") && error.code === "config.not-found") continue;
      const hint =
        error.code === "config.not-found" ? { hint: `Write "-${path}" when it may be missing.` } : { ...(error.hint !== undefined && { hint: error.hint }) };
      errors.push({ code: error.code, message: error.message, ...hint, where: whereOf(item.place, ["envFiles", index]) });
    }
  }
  for (const [name, value] of Object.entries(env)) if (value !== undefined && value !== "") delete variables[name];
  return { variables, errors, files };
}
