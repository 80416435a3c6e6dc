import { isSecretName } from "../log/mask.ts";
import { suggest } from "../util/suggest.ts";
import type { z } from "zod";
import type { Diagnostic, Where } from "../errors/fettle-error.ts";
import type { Removed } from "./merge.ts";
import { keysAt, likelyMember } from "./schema-walk.ts";
import { formatPath, blank, type Path, type Place, type Tree, treeAt, whereOf } from "./tree.ts";

type Issue = z.core.$ZodIssue;

/** More mistakes of one kind help nobody. */
const maxIssues = 50;

export interface Diagnosis {
  readonly schema: z.ZodType;
  readonly tree: Tree;
  /** The plain value that was checked. */
  readonly value: unknown;
}

/** Turns zod's issues into mistakes a person can mend: the place, what was found, what is expected, the likely meaning. */
export function diagnose(issues: readonly Issue[], about: Diagnosis): Diagnostic[] {
  return issues.slice(0, maxIssues).flatMap((issue) => {
    const path = issue.path.map((step) => (typeof step === "symbol" ? String(step) : step));
    if (issue.code === "unrecognized_keys") return issue.keys.slice(0, maxIssues).map((key) => unknownKey([...path, key], about));
    return (issue.code === "invalid_union" && withinMember(issue, path, about)) || [invalid(issue, path, about)];
  });
}

/** A map that means one member of a union has that member's mistakes; undefined when it is not clear which it means. */
function withinMember(issue: Extract<Issue, { code: "invalid_union" }>, path: Path, about: Diagnosis): Diagnostic[] | undefined {
  const member = likelyMember(about.schema, path, about.value, suggest);
  const issues = member && issue.errors[member.index];
  if (!issues || issues.length === 0) return undefined;
  const unknown = issues.flatMap((one) => (one.code === "unrecognized_keys" && one.path.length === 0 ? one.keys : []));
  const meant = new Set(unknown.map((key) => suggest(key, member.keys)));
  // A key that is there under a wrong name is one mistake, not two.
  const others = issues.filter(
    (one) => !(one.path.length === 1 && meant.has(String(one.path[0])) && !Object.hasOwn(valueAt(about.value, path) as object, String(one.path[0]))),
  );
  const found = diagnose(
    others.filter((one) => one.code !== "unrecognized_keys" || one.path.length > 0).map((one) => ({ ...one, path: [...path, ...one.path] })),
    about,
  );
  return [...unknown.slice(0, maxIssues).map((key) => unknownKey([...path, key], about, undefined, member.keys)), ...found];
}

/**
 * The value with each unknown `kind` replaced by the kind it most likely means, so that the keys beside it can be
 * checked in the same go; undefined when there is nothing to guess.
 */
export function guessKinds(issues: readonly Issue[], value: unknown): unknown {
  const guesses = issues.flatMap((issue) => {
    const { options } = issue as { options?: readonly unknown[] };
    const given = valueAt(value, issue.path as Path);
    const near = options && typeof given === "string" ? suggest(given, options.map(String)) : undefined;
    return near === undefined ? [] : [{ path: issue.path as Path, near }];
  });
  if (guesses.length === 0) return undefined;
  const guessed = structuredClone(value);
  for (const { path, near } of guesses) (valueAt(guessed, path.slice(0, -1)) as Record<string, unknown>)[String(path.at(-1))] = near;
  return guessed;
}

/** A removed key (`key: null`) never reaches zod; its name is checked here. */
export function diagnoseRemoved(removed: readonly Removed[], about: Diagnosis): Diagnostic[] {
  return removed.flatMap(({ path, key }) => {
    const keys = keysAt(about.schema, path.slice(0, -1), about.value);
    return keys && !keys.includes(String(path.at(-1))) ? [unknownKey(path, about, key)] : [];
  });
}

function unknownKey(path: Path, { schema, tree, value }: Diagnosis, place?: Place, keys?: readonly string[]): Diagnostic {
  const key = String(path.at(-1));
  const known = keys ?? keysAt(schema, path.slice(0, -1), value) ?? [];
  const near = suggest(key, known);
  const at = place ?? treeAt(tree, path).key ?? tree.place;
  const where = whereOf(at, path);
  return {
    code: "config.unknown-key",
    message: `Cannot use config: unknown key "${clip(key)}".`,
    hint: near ? `Did you mean "${near}"?` : `Keys here: ${known.join(", ")}.`,
    where: near && isSecretName(near) ? withoutValue(where) : where,
  };
}

/** A mistyped `apiKey` is not known to hold a secret: what follows it in the drawn line becomes stars. */
function withoutValue(where: Where): Where {
  if (where.source === undefined) return where;
  const end = (where.column ?? 1) - 1 + (where.width ?? 0);
  return { ...where, source: where.source.slice(0, end) + where.source.slice(end).replace(/[^\s:{}[\],]/g, "*") };
}

function invalid(issue: Issue, path: Path, { tree, value }: Diagnosis): Diagnostic {
  const found = valueAt(value, path);
  const { tree: node, key, whole } = treeAt(tree, path);
  const name = path.length === 0 ? "the file" : String(path.at(-1));
  if (issue.code === "invalid_key") {
    const reason = issue.issues[0]?.message ?? "expected another name";
    return {
      code: "config.invalid",
      message: `Cannot use config: the name "${clip(name)}" is not valid, ${reason}.`,
      hint: "Rename it.",
      where: whereOf(key ?? node.place, path),
    };
  }
  const { expected, options } = expectation(issue);
  const got = describe(found, isSecretName(name));
  const message =
    found === undefined ? `Cannot use config: ${place(path)} is missing, ${expected}.` : `Cannot use config: ${place(path)} is ${got}, ${expected}.`;
  // A missing key is shown at the map it belongs to; an empty value (`port:`) at its key.
  const at = whole ? (node.place.end > node.place.start || !key ? node.place : key) : (key ?? node.place);
  const hint = hintFor(found, expected, options);
  return { code: "config.invalid", message, ...(hint && { hint }), where: whereOf(at, path) };
}

const place = (path: Path): string =>
  path.length === 0 ? "the file" : typeof path.at(-1) === "number" ? formatPath(path.slice(-2)) : formatPath(path.slice(-1));

interface Expectation {
  readonly expected: string;
  /** The words that were possible, for "did you mean". */
  readonly options: readonly string[];
}

const kinds: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "keys with values",
  record: "keys with values",
};

function expectation(issue: Issue): Expectation {
  switch (issue.code) {
    case "invalid_type":
      return { expected: own(issue.message) ?? `expected ${kinds[issue.expected] ?? issue.expected}`, options: [] };
    case "invalid_value":
      return { expected: own(issue.message) ?? oneOf(issue.values.map(String)), options: issue.values.map(String) };
    case "too_small":
      return { expected: own(issue.message) ?? `expected at least ${issue.minimum}${unit(issue.origin, Number(issue.minimum))}`, options: [] };
    case "too_big":
      return { expected: own(issue.message) ?? `expected at most ${issue.maximum}${unit(issue.origin, Number(issue.maximum))}`, options: [] };
    case "invalid_union":
      return ofUnion(issue);
    default:
      return { expected: own(issue.message) ?? "expected another value", options: [] };
  }
}

/** zod's union says nothing by itself: take its own message, the kinds, or the branch that got further than the type. */
function ofUnion(issue: Extract<Issue, { code: "invalid_union" }>): Expectation {
  const options = (issue as { options?: readonly unknown[] }).options?.map(String);
  if (options) return { expected: oneOf(options), options };
  const branches = issue.errors.flat();
  const words = branches.map(expectation).flatMap((one) => one.options);
  const said = own(issue.message);
  if (said) return { expected: said, options: words };
  const further = branches.find((one) => one.code !== "invalid_type");
  if (further && words.length === 0) return expectation(further);
  const parts = [
    ...new Set(branches.filter((one) => words.length === 0 || one.code === "invalid_type").map((one) => expectation(one).expected.replace(/^expected /, ""))),
  ];
  if (words.length > 0) parts.push(oneOf(words).replace(/^expected /, ""));
  return { expected: `expected ${parts.join(" or ")}`, options: words };
}

/** The schema's own words begin with "expected"; zod's with "Invalid". */
const own = (message: string): string | undefined => (message.startsWith("expected ") ? message : undefined);
const oneOf = (values: readonly string[]): string => `expected ${values.length === 1 ? "" : "one of "}${values.join(", ")}`;
const unit = (origin: string, count: number): string => (origin === "string" ? " characters" : origin === "array" ? (count === 1 ? " entry" : " entries") : "");

function hintFor(found: unknown, expected: string, options: readonly string[]): string | undefined {
  if (typeof found === "string" && options.length > 0) {
    const near = suggest(found, options);
    if (near && near !== found) return `Did you mean "${near}"?`;
  }
  if (typeof found === "number" && expected.includes("duration")) return `Add the unit: ${found}ms or ${found}s.`;
  if ((typeof found === "number" || typeof found === "boolean") && expected.startsWith("expected text")) return `Put it in quotes: "${found}".`;
  if (found !== undefined && !Array.isArray(found) && expected.startsWith("expected a list")) return "Write it in brackets: [one, two].";
  return undefined;
}

function describe(value: unknown, secret: boolean): string {
  if (secret && (typeof value === "string" || typeof value === "number")) return `a ${typeof value === "string" ? "text" : "number"}`;
  if (typeof value === "string") return value === "" ? 'the empty text ""' : `the text "${clip(value)}"`;
  if (typeof value === "number") return `the number ${value}`;
  if (value === null) return "empty (null)";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "a group of keys" : String(value);
}

function valueAt(value: unknown, path: Path): unknown {
  let at = value;
  for (const step of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, step)) return undefined;
    at = (at as Record<string | number, unknown>)[step];
  }
  return at;
}

const clip = (text: string): string => blank(text.length > 40 ? `${text.slice(0, 39)}…` : text);
