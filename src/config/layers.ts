import type { Diagnostic } from "../errors/fettle-error.ts";
import { suggest } from "../util/suggest.ts";
import { parseYaml } from "./parse-yaml.ts";
import { profiles, profileSource } from "./profiles/index.ts";
import { substitute, type Environment } from "./substitute.ts";
import { type MapTree, type Place, type Source, type Tree, whereOf } from "./tree.ts";

export interface Layers {
  /** From weak to strong. */
  readonly trees: readonly MapTree[];
  readonly errors: readonly Diagnostic[];
  /** Part of the base is missing, so that "is missing" mistakes would mislead. */
  readonly incomplete: boolean;
  /** The profile nearest to the user, if any. */
  readonly profile?: string;
}

/** Parses a file and the profiles it extends; an unknown name is a mistake, and its likeliest meaning is used to go on. */
export function openLayers(source: Source | undefined, profile: { readonly name: string; readonly place?: Place } | undefined, env: Environment): Layers {
  const errors: Diagnostic[] = [];
  const trees: MapTree[] = [];
  let incomplete = false;
  const own = source && parseMap(source, errors);
  if (source && !own && errors.length > 0) return { trees, errors, incomplete: true, ...(profile && { profile: profile.name }) };
  if (own) trees.unshift(own);
  let next: { name: string; place?: Place } | undefined = profile ?? (own && extendsOf(own, env, errors));
  const nearest = next?.name;
  const seen: string[] = [];
  while (next) {
    const name: string = Object.hasOwn(profiles, next.name) ? next.name : (suggest(next.name, Object.keys(profiles)) ?? "");
    if (name !== next.name) errors.push(unknownProfile(next.name, next.place));
    const found = profileSource(name);
    if (!found || seen.includes(name)) {
      if (found) errors.push({ code: "config.invalid", message: `Cannot use config: the profiles ${[...seen, name].join(" → ")} extend each other.` });
      incomplete = true;
      break;
    }
    seen.push(name);
    const tree: MapTree | undefined = parseMap(found, errors);
    if (!tree) break;
    trees.unshift(tree);
    next = extendsOf(tree, env, errors);
  }
  return { trees, errors, incomplete, ...(nearest !== undefined && { profile: nearest }) };
}

function parseMap(source: Source, errors: Diagnostic[]): MapTree | undefined {
  const { tree, errors: found } = parseYaml(source);
  errors.push(...found);
  if (!tree || tree.kind === "map") return tree;
  if (tree.kind === "scalar" && tree.value === null) return undefined;
  const what = tree.kind === "list" ? "a list" : "a single value";
  errors.push({
    code: "config.invalid",
    message: `Cannot use config: the file is ${what}, expected keys with values.`,
    hint: "Begin with a line such as `extends: demo`.",
    where: whereOf(tree.place),
  });
  return undefined;
}

function extendsOf(tree: MapTree, env: Environment, errors: Diagnostic[]): { name: string; place: Place } | undefined {
  const value: Tree | undefined = tree.entries.get("extends")?.value;
  if (value?.kind !== "scalar" || typeof value.value !== "string") return undefined;
  const filled = substitute({ kind: "map", place: tree.place, entries: new Map([["extends", { key: value.place, value }]]) }, env);
  errors.push(...filled.errors);
  const leaf = filled.tree.kind === "map" ? filled.tree.entries.get("extends")?.value : undefined;
  const name = leaf?.kind === "scalar" ? String(leaf.value) : "";
  return name === "" ? undefined : { name, place: value.place };
}

export function unknownProfile(name: string, place?: Place): Diagnostic {
  const near = suggest(name, Object.keys(profiles));
  return {
    code: "config.unknown-profile",
    message: `Cannot use profile "${name.slice(0, 60)}": there is no such profile.`,
    hint: near ? `Did you mean "${near}"?` : `Built-in profiles: ${Object.keys(profiles).join(", ")}.`,
    ...(place && { where: whereOf(place, ["extends"]) }),
  };
}
