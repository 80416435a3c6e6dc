import { FettleError } from "../errors/fettle-error.ts";
import { isScalar, parseDocument } from "yaml";
import { nest } from "./nest.ts";
import { parseYaml } from "./parse-yaml.ts";
import type { MapTree, Source, Tree } from "./tree.ts";

/** A value that a command's own flag sets, such as `--log-format json` → `log.format`. */
export interface Override {
  readonly path: readonly string[];
  readonly value: string;
  /** The flag as typed, without its value. */
  readonly flag: string;
}

/** The flags layer, strongest of all: `--set path=value` in the order given, then the commands' own flags. */
export function flagsTree(set: readonly string[], overrides: readonly Override[]): MapTree | undefined {
  let layer: MapTree | undefined;
  for (const text of set) {
    const { path, value } = splitSet(text);
    const source: Source = { layer: "flags", name: "--set", file: "command line", text: `--set ${text}`, located: false };
    layer = nest(path, parseSetValue(value, source), layer);
  }
  for (const { path, value, flag } of overrides) {
    const text = `${flag} ${value}`;
    const source: Source = { layer: "flags", name: flag, file: "command line", text, located: false };
    layer = nest(path, { kind: "scalar", value, raw: value, place: { source, start: 0, end: text.length } }, layer);
  }
  return layer;
}

function splitSet(text: string): { path: string[]; value: string } {
  const equals = text.indexOf("=");
  const path = (equals === -1 ? text : text.slice(0, equals)).split(".");
  if (equals < 1 || path.some((key) => key === "" || key === "__proto__")) {
    throw new FettleError("cli.bad-value", `Cannot use --set ${text.slice(0, 60)}: expected path=value.`, {
      hint: "Write it like --set sources.http.port=8001.",
    });
  }
  return { path, value: text.slice(equals + 1) };
}

/** A YAML scalar, or a list or map in brackets; anything YAML would read otherwise stays the text it is. */
function parseSetValue(value: string, source: Source): Tree {
  const place = { source, start: 0, end: source.text.length };
  const asText: Tree = { kind: "scalar", value, raw: value, place };
  if (value === "") return asText;
  if (/^[[{]/.test(value)) {
    const { tree, errors } = parseYaml({ ...source, text: value });
    const [first, ...others] = errors;
    if (first)
      throw new FettleError("cli.bad-value", `Cannot use ${source.text.slice(0, 60)}: ${first.message.replace(/^Cannot read config: |\.$/g, "")}.`, { others });
    return tree ? rooted(tree, source) : asText;
  }
  const { contents, errors } = parseDocument(value);
  if (errors.length > 0 || !isScalar(contents) || contents.comment || typeof contents.value === "bigint") return asText;
  const scalar = contents.value;
  return scalar === null || ["string", "number", "boolean"].includes(typeof scalar)
    ? { kind: "scalar", value: scalar as string, raw: contents.source ?? value, place }
    : asText;
}

/** Places inside a bracketed value point at the whole flag: columns of a command line help nobody. */
function rooted(tree: Tree, source: Source): Tree {
  const place = { source, start: 0, end: source.text.length };
  if (tree.kind === "scalar") return { ...tree, place };
  if (tree.kind === "list") return { ...tree, items: tree.items.map((item) => rooted(item, source)), place };
  return { ...tree, entries: new Map([...tree.entries].map(([key, entry]) => [key, { key: place, value: rooted(entry.value, source) }])), place };
}
