import type { Diagnostic, Where } from "../errors/fettle-error.ts";
import { suggest } from "../util/suggest.ts";
import { type MapTree, type Path, type Place, type Tree, treeAt, whereOf } from "./tree.ts";

export interface CrossChecked {
  readonly errors: readonly Diagnostic[];
  readonly warnings: readonly string[];
}

/** Names the plan gives out itself. */
const reservedNames = ["worker", "pre-start", "post-start"];

/** More mistakes of one kind help nobody. */
const maxErrors = 50;

/** Mistakes between two places of one configuration. It reads the tree, so that it speaks even when the schema found others. */
export function crossCheck(tree: Tree): CrossChecked {
  const engines = children(tree, ["engines"]);
  const services = children(tree, ["services"]);
  const checks = [
    sameNames(engines, services),
    reserved([...engines, ...services]),
    unknownDependencies(engines, services),
    unknownPhases(tree, engines, services),
    samePorts(tree, engines),
    openToWorld(tree),
  ];
  return { errors: checks.flatMap((found) => [...found.take(maxErrors)]), warnings: portArguments(engines) };
}

interface Child {
  readonly name: string;
  readonly path: Path;
  readonly key: Place;
  readonly tree: MapTree;
}

function children(root: Tree, path: Path): Child[] {
  const { tree, whole } = treeAt(root, path);
  if (!whole || tree.kind !== "map") return [];
  return [...tree.entries].flatMap(([name, { key, value }]) => (value.kind === "map" ? [{ name, path: [...path, name], key, tree: value }] : []));
}

function* sameNames(engines: readonly Child[], services: readonly Child[]): Generator<Diagnostic> {
  const names = new Set(engines.map(({ name }) => name));
  for (const { name, key, path } of services) {
    if (names.has(name))
      yield {
        code: "config.invalid",
        message: `Cannot use config: "${name}" names an engine and a service.`,
        hint: "Rename the service.",
        where: whereOf(key, path),
      };
  }
}

function* reserved(all: readonly Child[]): Generator<Diagnostic> {
  for (const { name, key, path } of all) {
    if (reservedNames.includes(name))
      yield { code: "config.invalid", message: `Cannot use config: the name "${name}" is fettle's own.`, hint: "Rename it.", where: whereOf(key, path) };
  }
}

function* unknownDependencies(engines: readonly Child[], services: readonly Child[]): Generator<Diagnostic> {
  const names = new Set([...engines, ...services].map(({ name }) => name));
  for (const { name: service, tree, path } of services) {
    const on = treeAt(tree, ["dependsOn"]);
    if (!on.whole || on.tree.kind !== "map") continue;
    for (const [name, { key }] of on.tree.entries) {
      const where = whereOf(key, [...path, "dependsOn", name]);
      if (name === service) yield { code: "plan.cycle", message: `Cannot use config: "${name}" waits for itself.`, hint: "Remove the line.", where };
      else if (!names.has(name) && !reservedNames.includes(name))
        yield missingDependency(service, name, [...names].filter((one) => one !== service).slice(0, 200), where);
    }
  }
}

function missingDependency(service: string, name: string, others: readonly string[], where: Where): Diagnostic {
  const near = suggest(name, others);
  const hint = near ? `Did you mean "${near}"?` : `Declared here: ${others.join(", ") || "nothing else"}.`;
  return { code: "plan.missing-dependency", message: `Cannot use config: "${service}" waits for "${name}", which does not exist.`, hint, where };
}

function* unknownPhases(root: Tree, engines: readonly Child[], services: readonly Child[]): Generator<Diagnostic> {
  const phases = children(root, ["phases"]);
  const names = phases.map(({ name }) => name);
  const named = [...engines, ...services].map((child) => ({ child, found: treeAt(child.tree, ["phase"]), path: [...child.path, "phase"] }));
  const after = phases.flatMap((child) => {
    const list = treeAt(child.tree, ["after"]);
    const items = list.whole && list.tree.kind === "list" ? list.tree.items : [];
    return items.map((tree, index) => ({ child, found: { tree, whole: true }, path: [...child.path, "after", index] }));
  });
  for (const { child, found, path } of [...named, ...after]) {
    const { tree, whole } = found;
    if (!whole || tree.kind !== "scalar" || tree.value === null || names.includes(String(tree.value))) continue;
    const near = suggest(String(tree.value), names);
    yield {
      code: "plan.unknown-phase",
      message: `Cannot use config: "${child.name}" names the phase "${String(tree.value).slice(0, 60)}", which does not exist.`,
      hint: near ? `Did you mean "${near}"?` : `Declare it under phases; declared: ${names.join(", ") || "none"}.`,
      where: whereOf(tree.place, path),
    };
  }
}

const offWords = ["false", "0", "no", "off", ""];

/** A job API that other machines reach and that asks nobody for a key: only where the configuration says so itself. */
function* openToWorld(tree: Tree): Generator<Diagnostic> {
  const path = ["sources", "http"];
  const listen = scalarAt(tree, [...path, "listen"]) ?? "";
  if (listen === "" || listen === "localhost" || listen === "::1" || /^127(\.\d{1,3}){3}$/.test(listen)) return;
  if (offWords.includes(scalarAt(tree, [...path, "enabled"]) ?? "true")) return;
  if (scalarAt(tree, [...path, "apiKey"]) || !offWords.includes(scalarAt(tree, [...path, "allowUnauthenticated"]) ?? "")) return;
  const at = treeAt(tree, [...path, "listen"]);
  yield {
    code: "config.open-to-world",
    message: `Cannot use config: the job API listens on ${listen.slice(0, 60)} and asks nobody for a key.`,
    hint: "Set sources.http.apiKey (FETTLE_API_KEY); or say that it shall be open: sources.http.allowUnauthenticated: true.",
    where: whereOf(at.tree.place, [...path, "listen"]),
  };
}

const defaultPorts: Readonly<Record<string, number>> = { a1111: 3000, diffusers: 3000, comfyui: 8188 };

interface Listener {
  readonly what: string;
  readonly path: Path;
  /** The schema's default, where the kind is known. */
  readonly fallback: number | undefined;
}

/** Two fixed listeners on one port. Port 0 is chosen by the system and never clashes; an engine with a `url` opens none. */
function* samePorts(tree: Tree, engines: readonly Child[]): Generator<Diagnostic> {
  const taken = new Map<number, Listener>();
  for (const listener of listeners(tree, engines)) {
    const port = Number(scalarAt(tree, [...listener.path, "port"]) ?? listener.fallback);
    if (!Number.isInteger(port) || port === 0) continue;
    const other = taken.get(port);
    if (!other) {
      taken.set(port, listener);
      continue;
    }
    const at = treeAt(tree, [...listener.path, "port"]);
    const place = at.whole ? at.tree.place : (at.key ?? at.tree.place);
    yield {
      code: "plan.port-taken-twice",
      message: `Cannot use config: ${other.what} and ${listener.what} both want port ${port}.`,
      where: whereOf(place, [...listener.path, "port"]),
    };
  }
}

function listeners(tree: Tree, engines: readonly Child[]): Listener[] {
  const has = (path: Path) => treeAt(tree, path).whole;
  const off = (path: Path) => offWords.includes(scalarAt(tree, [...path, "enabled"]) ?? "true");
  const own = engines.filter(({ path }) => !has([...path, "url"]) && !off(path));
  return [
    ...(off(["health"]) ? [] : [{ what: "the health server", path: ["health"], fallback: 9090 }]),
    ...(has(["sources", "http"]) && !off(["sources", "http"]) ? [{ what: "the job API", path: ["sources", "http"], fallback: 8000 }] : []),
    ...own.map(({ name, path }) => ({ what: `the engine "${name}"`, path, fallback: defaultPorts[scalarAt(tree, [...path, "kind"]) ?? ""] })),
  ];
}

/** `--port` in an argument list that disagrees with `port`: the engine would never be found. */
function portArguments(engines: readonly Child[]): string[] {
  return engines.flatMap(({ name, tree }) => {
    const kind = scalarAt(tree, ["kind"]);
    if ((kind !== "a1111" && kind !== "comfyui") || treeAt(tree, ["url"]).whole) return [];
    const words = ["args", "extraArgs"].flatMap((key) => wordsAt(tree, [key]));
    const given = words.flatMap((word, index) => (word.startsWith("--port=") ? [word.slice(7)] : word === "--port" ? [words[index + 1] ?? ""] : [])).at(-1);
    const port = scalarAt(tree, ["port"]) ?? String(defaultPorts[kind]);
    // {port} is filled in for each of several copies.
    return given === undefined || given === "{port}" || given === port
      ? []
      : [`Engine "${name}" is started with --port ${given}, but fettle will look for it on port ${port}; make them agree.`];
  });
}

function scalarAt(root: Tree, path: Path): string | undefined {
  const { tree, whole } = treeAt(root, path);
  return whole && tree.kind === "scalar" ? String(tree.value) : undefined;
}

function wordsAt(root: Tree, path: Path): string[] {
  const { tree, whole } = treeAt(root, path);
  return whole && tree.kind === "list" ? tree.items.map((item) => (item.kind === "scalar" ? String(item.value) : "")) : [];
}
