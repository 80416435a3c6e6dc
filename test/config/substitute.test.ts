import assert from "node:assert/strict";
import { test } from "node:test";
import { loadText, refusal } from "./harness.ts";

const env = { NAME: "value", EMPTY: "", SNEAKY: "x\nextends: a1111-runpod", NESTED: "${NAME}", PORT: "8123", OFF: "false", API_SECRET: "s" };
const describe = (text: string): string | undefined => loadText(`description: ${JSON.stringify(text)}\n`, { env }).config.description;

const rows: [written: string, expected: string][] = [
  ["${NAME}", "value"],
  ["a ${NAME} b ${NAME}", "a value b value"],
  ["${NONE:-fallback}", "fallback"],
  ["${NONE:-}", ""],
  ["${EMPTY:-fallback}", "fallback"],
  ["${EMPTY}", ""],
  ["${NONE:-http://host:80/a?b=c}", "http://host:80/a?b=c"],
  ["$${NAME}", "${NAME}"],
  ["$NAME", "$NAME"],
  ["${NESTED}", "${NAME}"],
  ["${SNEAKY}", "x\nextends: a1111-runpod"],
];

for (const [written, expected] of rows) test(`${written} becomes ${JSON.stringify(expected)}`, () => assert.equal(describe(written), expected));

test("a leaf that is one variable stays text, and the schema reads it as a number or a flag", () => {
  const { config } = loadText("sources: { http: { port: '${PORT}', enabled: '${OFF}' } }\n", { env });
  assert.equal(config.sources.http?.port, 8123);
  assert.equal(config.sources.http?.enabled, false);
});

test("a variable the environment layer brings is not looked into", () => {
  const { config } = loadText("sources: { http: {} }\n", { env: { FETTLE_API_KEY: "${NAME}", NAME: "value" } });
  assert.equal(config.sources.http?.apiKey, "${NAME}");
});

test("keys are never substituted", () => {
  const { config } = loadText('services: { s: { command: [x], env: { "${NAME}": y } } }\n', { env });
  assert.deepEqual(config.services["s"]?.env, { "${NAME}": "y" });
});

test("a missing variable is reported with its place; one that is overridden is not", () => {
  const error = refusal(() => loadText("log:\n  level: ${LEVL}\n", { env: { LEVEL: "info" } }));
  assert.equal(error.code, "config.missing-variable");
  assert.deepEqual([error.where?.line, error.where?.column, error.where?.path], [2, 10, "log.level"]);
  assert.equal(error.hint, "Did you mean LEVEL? Set it, or give a default: ${LEVL:-default}.");
  assert.deepEqual(error.others, []);
  assert.equal(loadText("log: { level: '${LEVL}' }\n", { flags: { set: ["log.level=debug"] } }).config.log.level, "debug");
});

for (const written of ["${}", "${A B}", "${NAME", "${:-x}"]) {
  test(`${written} names no variable`, () => assert.equal(refusal(() => describe(written)).code, "config.invalid"));
}
