import type { Entry, MapTree, Path, Place, Tree } from "./tree.ts";

/** A key that a layer wrote as null: it drops what was inherited, and counts as not written. */
export interface Removed {
  readonly path: Path;
  readonly key: Place;
}

/**
 * Lays one layer over another. Maps merge key by key; lists and scalars are replaced; the lists under `extraArgs` are
 * joined; null removes the inherited key (in `env` it is kept: it unsets the variable for the program); a map whose
 * `kind` differs is replaced whole, because the keys of one kind mean nothing to the other.
 */
export function merge(under: Tree, over: Tree, removed: Removed[] = [], path: Path = []): Tree {
  if (under.kind === "list" && over.kind === "list" && path.at(-1) === "extraArgs") return { ...over, items: [...under.items, ...over.items] };
  if (under.kind !== "map" || over.kind !== "map" || kindDiffers(under, over)) return prune(over, removed, path);
  const entries = new Map<string, Entry>(under.entries);
  for (const [key, entry] of over.entries) {
    const below = entries.get(key);
    if (isRemoval(entry.value, path)) {
      entries.delete(key);
      removed.push({ path: [...path, key], key: entry.key });
    } else
      entries.set(key, {
        key: entry.key,
        value: below ? merge(below.value, entry.value, removed, [...path, key]) : prune(entry.value, removed, [...path, key]),
      });
  }
  return { ...over, entries };
}

/** A layer on its own: its null keys count as not written. */
export function prune(tree: Tree, removed: Removed[] = [], path: Path = []): Tree {
  if (tree.kind !== "map") return tree;
  const entries = new Map<string, Entry>();
  for (const [key, entry] of tree.entries) {
    if (isRemoval(entry.value, path)) removed.push({ path: [...path, key], key: entry.key });
    else entries.set(key, { key: entry.key, value: prune(entry.value, removed, [...path, key]) });
  }
  return { ...tree, entries };
}

const isRemoval = (tree: Tree, parent: Path): boolean => tree.kind === "scalar" && tree.value === null && parent.at(-1) !== "env";

function kindDiffers(under: MapTree, over: MapTree): boolean {
  const [a, b] = [under.entries.get("kind")?.value, over.entries.get("kind")?.value];
  return a?.kind === "scalar" && b?.kind === "scalar" && a.value !== b.value;
}
