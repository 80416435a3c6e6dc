import type { Diagnostic } from "../errors/fettle-error.ts";
import { type Alias, Composer, type Document, type Node, isAlias, isMap, isScalar, isSeq, type Pair, Parser, type YAMLError, type YAMLMap } from "yaml";
import { type Entry, type MapTree, type Place, type Source, type Tree, blank, whereOf } from "./tree.ts";

/** More values than this after aliases are spread out is an attack or a mistake ("billion laughs"). */
export const maxValues = 50_000;
/** Deeper than any real configuration, far from the end of the stack. */
export const maxDepth = 100;
const maxShownErrors = 20;

export interface Parsed {
  /** Undefined when there are errors, or the text holds no value at all (empty, or comments only). */
  readonly tree?: Tree;
  readonly errors: readonly Diagnostic[];
}

/** Parses one YAML document into a located tree; every mistake is a diagnostic, nothing is thrown, whatever the text. */
export function parseYaml(source: Source): Parsed {
  const [document, second] = compose(source.text);
  if (!document) return { errors: [] };
  const raised = [...document.errors, ...document.warnings];
  if (raised.some((one) => one.code === "RESOURCE_EXHAUSTION")) return { errors: [tooDeep(source)] };
  if (raised.length > 0) return { errors: syntaxErrors(raised, source) };
  if (second) return { errors: [severalDocuments(source, second)] };
  if (!document.contents) return { errors: [] };
  return new Builder(source).build(document.contents as Node);
}

/** The first two documents; the parser is stopped early in a text that is no YAML at all (its errors are slow to make). */
function compose(text: string): Document.Parsed[] {
  const documents: Document.Parsed[] = [];
  function* tokens() {
    let broken = 0;
    for (const token of new Parser().parse(text)) {
      if (token.type === "error" && ++broken > maxShownErrors) return;
      yield token;
    }
  }
  // uniqueKeys compares each key with all before it, which takes minutes on a hostile megabyte; the Builder uses a map.
  for (const document of new Composer({ uniqueKeys: false, version: "1.2", merge: false }).compose(tokens(), true, text.length)) {
    if (documents.push(document) === 2) break;
  }
  return documents;
}

/** One mistake for a line: what follows the first is mostly its consequence. */
function syntaxErrors(raised: readonly YAMLError[], source: Source): Diagnostic[] {
  const bare = raised.find(({ pos }) => source.text.startsWith("${", pos[0] - 1));
  // The brace of a variable ends everything; what the parser says of the rest would only lead away from it.
  if (bare) return [unquotedVariable(source, bare.pos[0] - 1)];
  const byLine = new Map<number, Diagnostic>();
  // A value that runs on raises two mistakes in one place; this one says more.
  const said = raised.toSorted((a, b) => Number(b.code === "MULTILINE_IMPLICIT_KEY") - Number(a.code === "MULTILINE_IMPLICIT_KEY"));
  for (const { code, message: text, pos } of said) {
    if (byLine.size === maxShownErrors) break;
    const [message, hint] = explain(code, text);
    const where = whereOf({ source, start: pos[0], end: pos[1] });
    const line = where.line ?? 0;
    if (!byLine.has(line)) byLine.set(line, { code: "config.syntax", message: `Cannot read config: ${message}.`, ...(hint && { hint }), where });
  }
  return [...byLine.values()];
}

function unquotedVariable(source: Source, start: number): Diagnostic {
  const name = /^\$\{[^}\n]*\}?/.exec(source.text.slice(start, start + 200))?.[0] ?? "${";
  return {
    code: "config.syntax",
    message: "Cannot read config: inside { } and [ ] a variable must be quoted.",
    hint: `Write "${name}".`,
    where: whereOf({ source, start, end: start + name.length }),
  };
}

function severalDocuments(source: Source, second: Document.Parsed): Diagnostic {
  const start = Math.max(0, source.text.lastIndexOf("---", second.range[0]));
  return {
    code: "config.syntax",
    message: "Cannot read config: the file holds several documents.",
    hint: "Remove this `---` line and what does not belong here.",
    where: whereOf({ source, start, end: start + 3 }),
  };
}

const tooDeep = (source: Source): Diagnostic => ({
  code: "config.too-large",
  message: `Cannot read config: values nest deeper than ${maxDepth} levels.`,
  hint: "Remove brackets or dashes; a configuration is a few levels deep.",
  where: { file: source.file },
});

/** The parser's words, made ours where they speak of its own internals. */
function explain(code: string, message: string): [message: string, hint?: string] {
  switch (code) {
    case "TAB_AS_INDENT":
      return ["a tab is used as indentation", "Use spaces."];
    case "BAD_INDENT":
      return ["the indentation does not fit the lines around it", "Align keys of one level in one column."];
    case "TAG_RESOLVE_FAILED":
      return [
        `${/Unresolved tag: (\S+)/.exec(message)?.[1]?.replace("tag:yaml.org,2002:", "!!") ?? "this"} is an unknown tag`,
        "Write the value without the tag.",
      ];
    case "KEY_OVER_1024_CHARS":
      return ["a key is longer than 1024 characters"];
    case "MULTILINE_IMPLICIT_KEY":
      return [
        "the next line is indented as if it went on with this value",
        "Align keys of one level in one column; quote a value that goes over several lines.",
      ];
    case "BLOCK_AS_IMPLICIT_KEY":
      return ["a second key stands on this line", "Put it on a line of its own, or quote the value."];
    case "MISSING_CHAR":
      return [lowerFirst(message), "Close what the line opens."];
    case "BAD_ALIAS":
    case "BAD_DQ_ESCAPE":
    default:
      return [lowerFirst(message)];
  }
}

const lowerFirst = (text: string): string =>
  text.charAt(0).toLowerCase() +
  text
    .slice(1)
    .replace(/[.:]?\s*$/s, "")
    .replace(/\s+/g, " ")
    .slice(0, 200);

class Stop extends Error {}

/** Walks the parser's nodes once, in document order; an alias shares the tree of its anchor instead of copying it. */
class Builder {
  readonly #source: Source;
  readonly #errors: Diagnostic[] = [];
  /** An anchor still being built is `undefined`: an alias to it would hold itself. */
  readonly #anchors = new Map<string, { tree: Tree; values: number } | undefined>();
  #values = 0;

  constructor(source: Source) {
    this.#source = source;
  }

  build(root: Node): Parsed {
    try {
      const tree = this.#tree(root, 0);
      return this.#errors.length > 0 ? { errors: this.#errors } : { tree, errors: [] };
    } catch (error) {
      if (!(error instanceof Stop)) throw error;
      return { errors: this.#errors };
    }
  }

  #tree(node: Node | null, depth: number): Tree {
    if (depth > maxDepth) {
      this.#errors.push(tooDeep(this.#source));
      throw new Stop();
    }
    this.#count(1, node);
    if (isAlias(node)) return this.#alias(node);
    const anchor = (node as { anchor?: string } | null)?.anchor;
    if (anchor !== undefined) this.#anchors.set(anchor, undefined);
    const before = this.#values;
    const tree = this.#own(node, depth);
    if (anchor !== undefined) this.#anchors.set(anchor, { tree, values: this.#values - before + 1 });
    return tree;
  }

  #own(node: Node | null, depth: number): Tree {
    const place = this.#place(node);
    if (isMap(node)) return this.#map(node, depth);
    if (isSeq(node)) return { kind: "list", items: node.items.map((item) => this.#tree(item as Node | null, depth + 1)), place };
    const value: unknown = isScalar(node) ? node.value : null;
    if (typeof value === "string" && value.includes("\0"))
      this.#fail("config.invalid", "a text holds a NUL byte", place, "No program or file name can hold one; remove it.");
    const plain =
      typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? value : typeof value === "bigint" ? Number(value) : null;
    return { kind: "scalar", value: plain, raw: isScalar(node) ? (node.source ?? String(plain)) : "", place };
  }

  #map(node: YAMLMap, depth: number): MapTree {
    const entries = new Map<string, Entry>();
    const merged: Tree[] = [];
    for (const pair of node.items as Pair<Node | null, Node | null>[]) {
      const place = this.#place(pair.key);
      const key = this.#key(pair.key, place);
      const value = this.#tree(pair.value, depth + 1);
      if (key === undefined) continue;
      if (key === "<<") merged.push(...(value.kind === "list" ? value.items : [value]));
      else if (entries.has(key)) this.#fail("config.syntax", `the key "${clip(key)}" is given twice`, place, "Keep one of the two.");
      else entries.set(key, { key: place, value: value.kind === "scalar" && value.raw === "" && value.value === null ? { ...value, place } : value });
    }
    // YAML 1.1's merge key: what the map says itself wins, then the first of the merged maps.
    for (const tree of merged) {
      if (tree.kind !== "map") this.#fail("config.syntax", "`<<` takes a map, or a list of maps", tree.place, "Write `<<: *anchor` with the anchor on a map.");
      else for (const [key, entry] of tree.entries) if (!entries.has(key)) entries.set(key, entry);
    }
    return { kind: "map", entries, place: this.#place(node) };
  }

  #key(node: Node | null, place: Place): string | undefined {
    const scalar = isAlias(node) ? undefined : isScalar(node) ? node : undefined;
    const key = scalar === undefined ? undefined : typeof scalar.value === "string" ? scalar.value : (scalar.source ?? String(scalar.value));
    if (key === undefined || key === "")
      this.#fail(
        "config.syntax",
        "a key is missing or is not a plain word",
        place,
        "Write `key: value`; quote a key that has braces, brackets or an asterisk.",
      );
    else if (key === "__proto__") this.#fail("config.unknown-key", 'the key "__proto__" is not allowed', place, "Remove it.");
    else if (key.includes("\0")) this.#fail("config.invalid", "a key holds a NUL byte", place, "Remove it.");
    else return key;
    return undefined;
  }

  #alias(node: Alias): Tree {
    const place = this.#place(node);
    const target = this.#anchors.get(node.source);
    if (target) {
      this.#count(target.values, node);
      return target.tree;
    }
    const why = this.#anchors.has(node.source) ? `the alias *${clip(node.source)} holds itself` : `the alias *${clip(node.source)} has no anchor before it`;
    this.#fail("config.syntax", why, place, "An alias repeats an earlier value that is marked with & and the same name.");
    return { kind: "scalar", value: null, raw: "", place };
  }

  #count(values: number, node: Node | null): void {
    this.#values += values;
    if (this.#values <= maxValues) return;
    this.#fail(
      "config.too-large",
      `it holds more than ${maxValues} values once aliases are spread out`,
      this.#place(node),
      "Shorten it; aliases of aliases multiply.",
    );
    throw new Stop();
  }

  #place(node: Node | null): Place {
    const [start, end] = node?.range ?? [0, 0];
    return { source: this.#source, start, end };
  }

  #fail(code: Diagnostic["code"], message: string, place: Place, hint: string): void {
    this.#errors.push({ code, message: `Cannot read config: ${message}.`, hint, where: whereOf(place) });
    if (this.#errors.length >= maxShownErrors) throw new Stop();
  }
}

const clip = (text: string): string => blank(text.length > 60 ? `${text.slice(0, 59)}…` : text);
