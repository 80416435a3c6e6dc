import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { buildJsonSchema, formatJsonSchema } from "../../src/config/json-schema.ts";

interface Schema {
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly required?: unknown;
}

function* walk(schema: Schema, path: string): Generator<[path: string, key: string, schema: Schema]> {
  for (const [key, one] of Object.entries(schema.properties ?? {})) {
    yield [`${path}.${key}`, key, one];
    yield* walk(one, `${path}.${key}`);
  }
  for (const one of schema.anyOf ?? []) yield* walk(one, path);
  if (schema.items) yield* walk(schema.items, `${path}[]`);
  if (typeof schema.additionalProperties === "object") yield* walk(schema.additionalProperties, `${path}.*`);
}

test("every key has a description, and nothing is required of a single layer", () => {
  const rows = [...walk(buildJsonSchema() as Schema, "config")];
  assert.ok(rows.length > 100, `${rows.length} keys`);
  for (const [path, , schema] of rows) {
    assert.ok(schema.description, `${path} has no description`);
    assert.equal(schema.required, undefined, path);
  }
});

test("defaults are what a person writes: durations with their unit", () => {
  const defaults = new Map([...walk(buildJsonSchema() as Schema, "config")].map(([path, , schema]) => [path, schema.default]));
  assert.equal(defaults.get("config.stop.budget"), "8s");
  assert.equal(defaults.get("config.jobs.timeout"), "10m");
  assert.equal(defaults.get("config.health.port"), 9090);
});

test("the committed schema is the one the sources give", () => {
  assert.equal(readFileSync(new URL("../../docs/config.schema.json", import.meta.url), "utf8"), formatJsonSchema(), "run `bun run generate`");
});
