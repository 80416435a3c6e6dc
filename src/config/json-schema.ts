import { z } from "zod";
import { exactDuration } from "../util/duration.ts";
import { profiles } from "./profiles/index.ts";
import { configSchema } from "./schema/index.ts";
import { holdsDuration } from "./schema-walk.ts";

type Json = { [key: string]: unknown };

/** Marks a schema file as fettle's own, so that `config init` may write it anew. */
export const schemaTitle = "fettle configuration";

/**
 * The JSON schema (draft 2020-12) that editors complete and check from. It describes one layer, not the merged whole:
 * nothing is required (a profile may give it), null is allowed (it removes an inherited key), and any value may be a
 * text with `${NAME}`.
 */
export function buildJsonSchema(): Json {
  const generated = z.toJSONSchema(configSchema, {
    io: "input",
    unrepresentable: "any",
    override: ({ zodSchema, jsonSchema }) => {
      delete jsonSchema.maxLength;
      // zod shows defaults as the program sees them, or not at all; an editor inserts them, so they must be what a person writes.
      const { type, defaultValue } = (zodSchema as unknown as z.ZodType).def as { type: string; defaultValue?: unknown };
      if (type !== "default" || typeof defaultValue === "object") delete jsonSchema.default;
      else
        jsonSchema.default =
          typeof defaultValue === "number" && holdsDuration(zodSchema as unknown as z.ZodType) ? exactDuration(defaultValue) : (defaultValue as string);
    },
  }) as Json;
  const { $schema, ...rest } = relax(generated) as Json & { properties: Record<string, Json> };
  rest.properties["extends"] = { description: "A built-in profile to start from.", anyOf: [{ type: "string", enum: Object.keys(profiles) }, variable] };
  return {
    $schema,
    title: schemaTitle,
    description: "What fettle boots, watches and feeds. Every key may be left out; `extends` names the profile that fills in the rest.",
    ...rest,
  };
}

export function formatJsonSchema(): string {
  return `${JSON.stringify(buildJsonSchema(), null, 2)}\n`;
}

const variable = { type: "string", pattern: "\\$\\{" };
const lists = ["anyOf", "oneOf", "allOf"] as const;

function relax(node: unknown): unknown {
  if (typeof node !== "object" || node === null || Array.isArray(node)) return node;
  const { required: _, properties, additionalProperties, items, propertyNames, ...rest } = node as Json;
  const out: Json = { ...rest };
  for (const key of lists) {
    if (!Array.isArray(out[key])) continue;
    const members = (out[key] as unknown[]).map(relax);
    delete out[key];
    // One layer may leave out what tells the members apart, so more than one may match.
    out["anyOf"] = members;
  }
  if (properties) out["properties"] = Object.fromEntries(Object.entries(properties as Json).map(([key, value]) => [key, open(relax(value) as Json)]));
  if (additionalProperties !== undefined)
    out["additionalProperties"] = typeof additionalProperties === "object" ? open(relax(additionalProperties) as Json) : additionalProperties;
  if (items) out["items"] = open(relax(items) as Json, false);
  if (propertyNames) out["propertyNames"] = propertyNames;
  return out;
}

/** Lets a place also hold a variable and, as a key's value, null. */
function open(node: Json, nullable = true): Json {
  const { description, default: fallback, ...body } = node;
  const kept = { ...(description !== undefined && { description }), ...(fallback !== undefined && { default: fallback }) };
  const members = flatten(body);
  if (members.some((one) => one["const"] !== undefined && one["type"] === "string" && members.length === 1)) return { ...kept, ...body };
  const extra: Json[] = [];
  const takesAnyText = members.some(
    (one) => one["type"] === "string" && one["pattern"] === undefined && one["enum"] === undefined && one["const"] === undefined,
  );
  const isGroup = members.every((one) => one["type"] === "object" || one["type"] === "array");
  if (!takesAnyText && !isGroup) extra.push(variable);
  const only = members[0];
  if (nullable && extra.length === 0 && members.length === 1 && only && typeof only["type"] === "string" && !only["enum"])
    return { ...kept, ...only, type: [only["type"], "null"] };
  if (nullable && !members.some((one) => one["type"] === "null")) extra.push({ type: "null" });
  if (extra.length === 0) return { ...kept, ...body };
  return { ...kept, anyOf: [...members, ...extra] };
}

/** Unions of unions as one list; a member keeps its own description. */
function flatten(node: Json): Json[] {
  const { anyOf, ...rest } = node;
  if (!Array.isArray(anyOf)) return [node];
  if (Object.keys(rest).length > 0 && rest["description"] === undefined) return [node];
  return (anyOf as Json[]).flatMap(flatten);
}
