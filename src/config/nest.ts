import type { Entry, MapTree, Tree } from "./tree.ts";

/** Puts a value at a path of keys, into a new map or beside what `into` already holds. */
export function nest(path: readonly string[], value: Tree, into?: MapTree): MapTree {
  const [first = "", ...rest] = path;
  const below = into?.entries.get(first)?.value;
  const child = rest.length === 0 ? value : nest(rest, value, below?.kind === "map" ? below : undefined);
  const entries = new Map<string, Entry>(into?.entries);
  entries.set(first, { key: value.place, value: child });
  return { kind: "map", entries, place: value.place };
}
