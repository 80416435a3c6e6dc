import assert from "node:assert/strict";
import { test } from "node:test";
import { merge, prune, type Removed } from "../../src/config/merge.ts";
import { parseYaml } from "../../src/config/parse-yaml.ts";
import { formatPath, toValue, type Tree } from "../../src/config/tree.ts";

function tree(text: string): Tree {
  const { tree: parsed, errors } = parseYaml({ layer: "file", name: "t", file: "t", text, located: true });
  assert.deepEqual(errors, []);
  assert.ok(parsed);
  return parsed;
}

const merged = (under: string, over: string): unknown => toValue(prune(merge(tree(under), tree(over))));

const rows: [name: string, under: string, over: string, expected: unknown][] = [
  ["maps merge by key", "a: { x: 1, y: 2 }", "a: { y: 3, z: 4 }", { a: { x: 1, y: 3, z: 4 } }],
  ["lists replace", "a: [1, 2]", "a: [3]", { a: [3] }],
  ["extraArgs append", "e: { extraArgs: [--one] }", "e: { extraArgs: [--two] }", { e: { extraArgs: ["--one", "--two"] } }],
  ["null removes an inherited key", "a: { x: 1, y: 2 }", "a: { x: null }", { a: { y: 2 } }],
  ["null removes a whole map", "a: { x: 1 }\nb: 2", "a:", { b: 2 }],
  ["null in env is kept: it unsets the variable", "s: { env: { A: 1 } }", "s: { env: { A: ~ } }", { s: { env: { A: null } } }],
  ["another kind replaces the whole map", "e: { kind: a, x: 1 }", "e: { kind: b, y: 2 }", { e: { kind: "b", y: 2 } }],
  ["the same kind merges", "e: { kind: a, x: 1 }", "e: { kind: a, y: 2 }", { e: { kind: "a", x: 1, y: 2 } }],
  ["a scalar replaces a map and the other way round", "a: { x: 1 }\nb: 1", "a: 1\nb: { x: 1 }", { a: 1, b: { x: 1 } }],
  [
    "YAML merge keys fill in",
    "{}",
    "a: &a { x: 1, y: 2 }\nb: { <<: *a, y: 3 }\nc: { <<: [*a, { z: 4 }] }",
    { a: { x: 1, y: 2 }, b: { x: 1, y: 3 }, c: { x: 1, y: 2, z: 4 } },
  ],
];

for (const [name, under, over, expected] of rows) test(name, () => assert.deepEqual(merged(under, over), expected));

test("removed keys are remembered, so that a misspelt one can be reported", () => {
  const removed: Removed[] = [];
  prune(merge(tree("a: { x: 1 }"), tree("a: { x: ~, tpyo: ~ }\nb:"), removed), removed);
  assert.deepEqual(
    removed.map(({ path }) => formatPath(path)),
    ["a.x", "a.tpyo", "b"],
  );
});

test("merging changes neither side", () => {
  const under = tree("e: { extraArgs: [--one], x: 1 }");
  const over = tree("e: { extraArgs: [--two], x: ~ }");
  merge(under, over);
  assert.deepEqual(toValue(under), { e: { extraArgs: ["--one"], x: 1 } });
  assert.deepEqual(toValue(over), { e: { extraArgs: ["--two"], x: null } });
});
