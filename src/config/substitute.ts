import { suggest } from "../util/suggest.ts";
import type { Diagnostic } from "../errors/fettle-error.ts";
import { type Entry, formatPath, type Path, type ScalarTree, type Tree, whereOf } from "./tree.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Substituted {
  readonly tree: Tree;
  readonly errors: readonly Diagnostic[];
  /** Paths whose variable is missing; no other mistake is worth reporting there. */
  readonly missing: ReadonlySet<string>;
}

// `$${` is a written-out `${`. A default may hold anything but a closing brace.
const pattern = /\$\$\{|\$\{(?:([^}:]*)(?::([-+])([^}]*))?\})?/g;

/** More mistakes of one kind help nobody. */
const maxErrors = 50;

/**
 * Fills `${NAME}`, `${NAME:-default}` and `${NAME:+text when NAME is set}` into text leaves, after parsing: a value never becomes
 * YAML, so no variable can add a key. An empty variable counts as missing for `:-` and `:+`, as in a shell.
 */
export function substitute(root: Tree, env: Environment): Substituted {
  const errors: Diagnostic[] = [];
  const missing = new Set<string>();
  const visit = (tree: Tree, path: Path): Tree => {
    if (tree.kind === "list") return { ...tree, items: tree.items.map((item, index) => visit(item, [...path, index])) };
    if (tree.kind === "map") {
      const entries = new Map<string, Entry>();
      for (const [key, entry] of tree.entries) entries.set(key, { key: entry.key, value: visit(entry.value, [...path, key]) });
      return { ...tree, entries };
    }
    return typeof tree.value === "string" && !tree.literal && tree.value.includes("${") ? fill(tree, tree.value, path) : tree;
  };
  const fill = (tree: ScalarTree, text: string, path: Path): ScalarTree => {
    const variables: string[] = [];
    const value = text.replace(pattern, (whole: string, name: string | undefined, form: string | undefined, other: string | undefined) => {
      if (whole === "$${") return "${";
      if (errors.length >= maxErrors) return "";
      if (name === undefined || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
        missing.add(formatPath(path));
        errors.push(noVariable(name === undefined ? "${" : whole, tree, path));
        return "";
      }
      const found = Object.hasOwn(env, name) ? env[name] : undefined;
      if (form === "+") {
        if (found) variables.push(name);
        return found ? (other ?? "") : "";
      }
      const fallback = form === "-" ? other : undefined;
      if (found !== undefined && (found !== "" || fallback === undefined)) {
        variables.push(name);
        return found;
      }
      if (fallback !== undefined) return fallback;
      missing.add(formatPath(path));
      errors.push(missingVariable(name, tree, path, env));
      return "";
    });
    return { ...tree, value, raw: value, ...(variables.length > 0 && { variables }) };
  };
  return { tree: visit(root, []), errors, missing };
}

function noVariable(whole: string, tree: ScalarTree, path: Path): Diagnostic {
  const reason = whole === "${" ? "a ${ is not closed or" : `${whole.slice(0, 60)}`;
  return {
    code: "config.invalid",
    message: `Cannot use config: ${reason} names no variable.`,
    hint: "Write ${NAME}, ${NAME:-default} or ${NAME:+text}; $${ stands for a plain ${.",
    where: whereOf(tree.place, path),
  };
}

function missingVariable(name: string, tree: ScalarTree, path: Path, env: Environment): Diagnostic {
  const near = suggest(name, Object.keys(env));
  return {
    code: "config.missing-variable",
    message: `Cannot use config: the variable ${name} is not set.`,
    hint: `${near ? `Did you mean ${near}? ` : ""}Set it, or give a default: \${${name}:-default}.`,
    where: whereOf(tree.place, path),
  };
}
