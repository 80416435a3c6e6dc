import { formatPath, type Layer, type Path, type Tree, whereOf } from "./tree.ts";

export interface Origin {
  readonly layer: Layer;
  /** The profile, file, variable or flag; `default` for the lowest layer. */
  readonly name: string;
  readonly line?: number | undefined;
  /** The variables that `${NAME}` in that place took the value from. */
  readonly variables?: readonly string[];
}

export type Origins = ReadonlyMap<string, Origin>;

/** The origin of each leaf and each list, by path. A list that layers were joined into has one per entry as well. */
export function originsOf(root: Tree): Origins {
  const origins = new Map<string, Origin>();
  const visit = (tree: Tree, path: Path): void => {
    if (tree.kind === "map") {
      for (const [key, { value }] of tree.entries) visit(value, [...path, key]);
      return;
    }
    const { line } = whereOf(tree.place);
    const variables = tree.kind === "scalar" ? tree.variables : undefined;
    const { layer, name } = tree.place.source;
    origins.set(formatPath(path), { layer, name, ...(line !== undefined && { line }), ...(variables && { variables }) });
    if (tree.kind === "list") tree.items.forEach((item, index) => visit(item, [...path, index]));
  };
  visit(root, []);
  return origins;
}

/** `profile demo`, `file fettle.yaml:7`, `environment FETTLE_HTTP_PORT`, `flag --set`, `default`. */
export function formatOrigin(origin: Origin | undefined): string {
  if (!origin || origin.layer === "defaults") return "default";
  const from = origin.variables ? `, from ${origin.variables.join(", ")}` : "";
  if (origin.layer === "file") return `file ${[origin.name, origin.line].filter((part) => part !== undefined).join(":")}${from}`;
  if (origin.layer === "flags") return `flag ${origin.name}${from}`;
  return `${origin.layer} ${origin.name}${from}`;
}
