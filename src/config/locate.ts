import { FettleError } from "../errors/fettle-error.ts";
import { maskDiagnostic } from "./secrets.ts";
import { type Path, type Tree, treeAt, whereOf } from "./tree.ts";

/** Gives a mistake that the plan found (it knows a path only) its place in the text. The plan's names are copies' names, and engines count as services. */
export function locate(error: FettleError, tree: Tree, secrets: readonly string[]): FettleError {
  const { code, message, hint, where, others, details, cause } = error;
  if (where?.path === undefined || where.file !== undefined) return error;
  const found = candidates(where.path.split(".")).find((path) => treeAt(tree, path).whole);
  if (!found) return error;
  const { key, tree: node } = treeAt(tree, found);
  const masked = maskDiagnostic({ code, message, hint, where: whereOf(key ?? node.place, found) }, secrets);
  return new FettleError(code, message, { ...(hint !== undefined && { hint }), ...(masked.where && { where: masked.where }), others, details, cause });
}

/** From the exact path to what is nearest to it: the copy's original, an engine of that name, the entry as a whole. */
function candidates(path: Path): Path[] {
  const [first, name, ...rest] = path;
  const original = path.map((step) => String(step).replace(/-\d+$/, ""));
  const half = path.map((step, index) => (index === 1 ? (original[1] ?? "") : step));
  const exact = [path, half, original];
  const engines = first === "services" ? exact.map(([, ...more]) => ["engines", ...more]) : [];
  const all = [...exact, ...engines];
  return rest.length === 0 || name === undefined ? all : [...all, ...all.map((one) => one.slice(0, 2))];
}
