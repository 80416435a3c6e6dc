// config/ owns the way from text to a valid Config: profiles, files, environment and flags become located trees,
// are merged, filled in and checked. Takes: an environment, flags, a folder. Gives: `LoadedConfig`, or every mistake at
// once with its place. The only folder that reads the environment. Must not know processes, engines or jobs.
import type { Where } from "../errors/fettle-error.ts";

/** From weak to strong; a later layer wins. */
export type Layer = "defaults" | "profile" | "file" | "environment" | "flags";

/** A text that values came from: a file, an embedded profile, one variable, one flag. */
export interface Source {
  readonly layer: Layer;
  /** What `config show --origins` prints after the layer: a profile, a file, a variable, a flag. */
  readonly name: string;
  /** What an error shows as the file. */
  readonly file: string;
  readonly text: string;
  /** Lines and columns mean something to the user (false for variables, flags and computed defaults). */
  readonly located: boolean;
}

export interface Place {
  readonly source: Source;
  readonly start: number;
  readonly end: number;
}

export interface ScalarTree {
  readonly kind: "scalar";
  readonly value: string | number | boolean | null;
  /** The text as written, so that `1.10` or `007` can stay text where text is wanted. */
  readonly raw: string;
  readonly place: Place;
  /** Environment variables that `${NAME}` took the value from. */
  readonly variables?: readonly string[];
  /** Came from the environment as it stands: `${` in it means nothing. */
  readonly literal?: true;
}

export interface ListTree {
  readonly kind: "list";
  readonly items: readonly Tree[];
  readonly place: Place;
}

export interface Entry {
  readonly key: Place;
  readonly value: Tree;
}

export interface MapTree {
  readonly kind: "map";
  readonly entries: ReadonlyMap<string, Entry>;
  readonly place: Place;
}

/** A parsed value that remembers, leaf by leaf, where it was written. Never changed in place: aliases and layers share branches. */
export type Tree = ScalarTree | ListTree | MapTree;

export type Path = readonly (string | number)[];

/** Lists under these keys (and maps under `env`) are words for a program: what was written is kept, digit for digit. */
const wordKeys = new Set(["args", "extraArgs", "command", "exec", "env"]);

/** The plain value of a tree, as zod reads it. */
export function toValue(tree: Tree, verbatim = false): unknown {
  if (tree.kind === "scalar") return verbatim && tree.value !== null ? (typeof tree.value === "string" ? tree.value : tree.raw) : tree.value;
  if (tree.kind === "list") return tree.items.map((item) => toValue(item, verbatim));
  return Object.fromEntries([...tree.entries].map(([key, { value }]) => [key, toValue(value, wordKeys.has(key) || (verbatim && value.kind === "scalar"))]));
}

/** The deepest tree along a path, with the key that led to it; `whole` is false when the path goes on beyond it. */
export function treeAt(root: Tree, path: Path): { tree: Tree; key?: Place; whole: boolean } {
  let tree = root;
  let key: Place | undefined;
  for (const step of path) {
    if (tree.kind === "map") {
      const entry = tree.entries.get(String(step));
      if (!entry) return { tree, ...(key && { key }), whole: false };
      key = entry.key;
      tree = entry.value;
    } else if (tree.kind === "list" && tree.items[Number(step)]) {
      tree = tree.items[Number(step)] as Tree;
      key = undefined;
    } else return { tree, ...(key && { key }), whole: false };
  }
  return { tree, ...(key && { key }), whole: true };
}

/** `engines.webui.args.3`; a key that is no plain word stands in quotes. */
export function formatPath(path: Path): string {
  return path.map((step) => (/^[\w-]+$/.test(String(step)) ? String(step) : JSON.stringify(String(step)))).join(".");
}

const longestDrawnLine = 200;

/** The place for an error: file:line:column with the user's own line (control characters blanked, long lines cut). */
export function whereOf({ source, start, end }: Place, path?: Path): Where {
  const at = path && path.length > 0 ? { path: formatPath(path) } : {};
  if (!source.located)
    return source.text === "" ? { file: source.file, ...at } : { file: source.file, source: blank(source.text.slice(0, longestDrawnLine)), ...at };
  const lineStart = source.text.lastIndexOf("\n", start - 1) + 1;
  const newline = source.text.indexOf("\n", start);
  const lineEnd = newline === -1 ? source.text.length : newline;
  let line = 1;
  for (let index = source.text.indexOf("\n"); index !== -1 && index < lineStart; index = source.text.indexOf("\n", index + 1)) line++;
  const column = start - lineStart + 1;
  const drawn = blank(source.text.slice(lineStart, lineEnd));
  const cut = drawn.length > longestDrawnLine ? `${drawn.slice(0, longestDrawnLine - 1)}…` : drawn;
  const width = Math.max(1, Math.min(end, lineEnd) - start);
  return {
    file: source.file,
    line,
    column,
    ...(column <= longestDrawnLine && { source: cut.trimEnd(), width: Math.min(width, Math.max(1, cut.length - column + 1)) }),
    ...at,
  };
}

/** One blank for one control character: the mark under a line keeps its place, and no escape code reaches a terminal. */
// oxlint-disable-next-line no-control-regex
export const blank = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, " ");
