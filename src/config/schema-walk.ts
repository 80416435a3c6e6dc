import type { z } from "zod";
import { duration, positiveDuration } from "./schema/scalars.ts";
import type { Path } from "./tree.ts";

/** The parts of zod's public definition objects that this file reads. */
interface Definition {
  readonly type: string;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly innerType?: z.ZodType;
  readonly in?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly element?: z.ZodType;
  readonly options?: readonly z.ZodType[];
  readonly discriminator?: string;
}

const definitionOf = (schema: z.ZodType): Definition => schema.def as unknown as Definition;

/** The keys a map may have at a path, or undefined where any key goes (or none). The value chooses among kinds. */
export function keysAt(root: z.ZodType, path: Path, value: unknown): readonly string[] | undefined {
  const shapes = schemasAt(root, path, value)
    .map((schema) => definitionOf(schema).shape)
    .filter((shape) => shape !== undefined);
  return shapes.length === 0 ? undefined : [...new Set(shapes.flatMap((shape) => Object.keys(shape)))];
}

/**
 * The member of the union at a path that a map most likely means: the one whose own keys (those that not every member has) it
 * names, or nearly names. Undefined where there is no union, or nothing to go by.
 */
export function likelyMember(
  root: z.ZodType,
  path: Path,
  value: unknown,
  near: (word: string, words: readonly string[]) => string | undefined,
): Member | undefined {
  const parent = schemasAt(root, path.slice(0, -1), value);
  const last = path.at(-1);
  const unions = (last === undefined ? [root] : parent.flatMap((schema) => stepInto(definitionOf(schema), String(last)) ?? [])).flatMap(unionOf);
  const members = (unions[0] ?? []).map((option) => keysOf(option));
  const given = Object.keys(valueOf(value, path) ?? {});
  const shared = (key: string) => members.every((keys) => keys.length === 0 || keys.includes(key));
  const scored = members.map((keys, index) => {
    const own = keys.filter((key) => !shared(key) || members.filter((one) => one.length > 0).length === 1);
    const named = given.filter((key) => own.includes(key)).length;
    const meant = given.some((key) => near(key, own) !== undefined);
    return { index, keys, score: named > 0 ? named + 1 : meant ? 1 : 0 };
  });
  const [best] = scored.toSorted((a, b) => b.score - a.score);
  return best && best.score > 0 ? best : undefined;
}

export interface Member {
  /** Its place among the union's members. */
  readonly index: number;
  readonly keys: readonly string[];
}

/** The members of a union, whatever wraps it; a union of kinds is told apart by zod itself. */
function unionOf(schema: z.ZodType): (readonly z.ZodType[])[] {
  const definition = definitionOf(schema);
  if (definition.innerType) return unionOf(definition.innerType);
  if (definition.type === "pipe" && definition.in) return unionOf(definition.in);
  return definition.options && !definition.discriminator ? [definition.options] : [];
}

const keysOf = (schema: z.ZodType): string[] => expand(schema, undefined).flatMap((one) => Object.keys(definitionOf(one).shape ?? {}));

function valueOf(value: unknown, path: Path): object | undefined {
  const found = path.reduce<unknown>((at, step) => (at as Record<string | number, unknown> | undefined)?.[step], value);
  return typeof found === "object" && found !== null && !Array.isArray(found) ? found : undefined;
}

/** Is the value at this path a duration, which the program holds in milliseconds and a person writes with a unit? */
export function isDurationAt(root: z.ZodType, path: Path, value: unknown): boolean {
  return schemasAt(root, path, value).some(isDuration);
}

/** The same question about one schema, whatever wraps it. */
export function holdsDuration(schema: z.ZodType): boolean {
  return expand(schema, undefined).some(isDuration);
}

function schemasAt(root: z.ZodType, path: Path, value: unknown): z.ZodType[] {
  let schemas = expand(root, value);
  let at = value;
  for (const step of path) {
    at = (at as Record<string | number, unknown> | undefined)?.[step];
    schemas = schemas.flatMap((schema) => {
      const next = stepInto(definitionOf(schema), String(step));
      return next ? expand(next, at) : [];
    });
  }
  return schemas;
}

function stepInto({ shape, valueType, element }: Definition, step: string): z.ZodType | undefined {
  if (shape) return Object.hasOwn(shape, step) ? shape[step] : undefined;
  return valueType ?? element;
}

/** A description makes a new schema around the same definition. */
const isDuration = (schema: z.ZodType): boolean => schema.def === duration.def || schema.def === positiveDuration.def;

/** Takes off defaults, optionals and pipes, and opens unions; of a discriminated union only the member that fits. */
function expand(schema: z.ZodType, value: unknown): z.ZodType[] {
  if (isDuration(schema)) return [schema];
  const definition = definitionOf(schema);
  if (definition.innerType) return expand(definition.innerType, value);
  if (definition.type === "pipe" && definition.in) return expand(definition.in, value);
  if (!definition.options) return [schema];
  const { discriminator } = definition;
  const given = discriminator && (value as Record<string, unknown> | undefined)?.[discriminator];
  const fitting = definition.options.filter((option) => {
    const literal = discriminator && definitionOf(option).shape?.[discriminator];
    return literal ? literal.safeParse(given).success : false;
  });
  return (fitting.length > 0 ? fitting : definition.options).flatMap((option) => expand(option, value));
}
