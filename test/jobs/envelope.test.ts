import assert from "node:assert/strict";
import { test } from "node:test";
import { parseEnvelope } from "../../src/jobs/envelope.ts";
import { scanJson } from "../../src/jobs/json-scan.ts";

const limits = { maxDepth: 65, maxBytes: 1_000_000 };

test("The scan agrees with the text about depth and finds the id", () => {
  const cases: [string, number, string | undefined][] = [
    ["{}", 1, undefined],
    ["[[[]]]", 3, undefined],
    ['{"id":"a","input":{"x":[1]}}', 3, "a"],
    ['{"input":{"id":"inner"},"id" : "o\\"uter"}', 2, 'o"uter'],
    ['{"input":"[[[[ \\\\","id":"b"}', 1, "b"],
    ['{"input":"\\"id\\":\\"fake\\""}', 1, undefined],
    ['"unfinished', 0, undefined],
  ];
  for (const [text, depth, id] of cases) assert.deepEqual(scanJson(text, 100), { depth, id }, text);
});

test("A nesting bomb is seen before it is parsed, and its id is still found", () => {
  const bomb = `${"[".repeat(200_000)}${"]".repeat(200_000)}`;
  for (const text of [`{"id":"j","input":${bomb}}`, `{"input":${bomb},"id":"j"}`]) {
    const envelope = parseEnvelope(text, limits);
    assert.deepEqual([envelope.type, envelope.id], ["broken", "j"]);
  }
});

test("Keys beside input are kept as they came", () => {
  const envelope = parseEnvelope('{"input":{"a":1},"id":"j","webhook":"http://x","__proto__":{"y":1}}', limits);
  assert.equal(envelope.type, "job");
  assert.equal(JSON.stringify(envelope.type === "job" && envelope.extra), '{"webhook":"http://x","__proto__":{"y":1}}');
});
