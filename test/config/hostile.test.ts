import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Folder, load, loadText, refusal } from "./harness.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
const laugh = `a: &a [x, x, x, x, x, x, x, x, x]\n${[..."bcdefgh"].map((name, index) => `${name}: &${name} [${Array(9).fill(`*${"abcdefgh"[index]}`).join(", ")}]`).join("\n")}\n`;

/** Each file is refused with a code and, where it has one, a line; nothing is thrown that is not a FettleError. */
const refused: [name: string, content: string | Uint8Array, code: string, line: number | undefined, message: RegExp][] = [
  ["a NUL byte", bytes("extends: demo\nlog: { level: in\0fo }\n"), "config.syntax", 2, /NUL byte/],
  ["a NUL byte by escape", 'announce: ["a\\0b"]\n', "config.invalid", 1, /NUL byte/],
  ["an escape code", bytes("log: { \u001b[31m: 1 }\n"), "config.syntax", 1, /control character U\+001B/],
  ["Latin-1", bytes("extends: demo\n# caf\u00e9\n"), "config.syntax", 2, /not UTF-8/],
  ["UTF-16", Buffer.from("\ufeffextends: demo\n", "utf16le"), "config.syntax", 1, /not UTF-8/],
  ["tabs", "log:\n\tlevel: info\n", "config.syntax", 2, /tab/],
  ["bad indentation", "log:\n  level: info\n   format: json\n", "config.syntax", 2, /next line is indented/],
  ["a variable in braces without quotes", "sources: { http: { port: ${PORT:-8000} } }\nlog: {}\n", "config.syntax", 1, /variable must be quoted/],
  ["a variable in brackets without quotes", "announce: [a, ${NAME}]\n", "config.syntax", 1, /variable must be quoted/],
  ["an open quote", 'log:\n  level: "info\n', "config.syntax", 3, /closing/],
  ["a key twice", "extends: demo\nextends: demo\n", "config.syntax", 2, /given twice/],
  ["several documents", "extends: demo\n---\nextends: demo\n", "config.syntax", 2, /several documents/],
  ["aliases that explode", laugh, "config.too-large", 5, /values once aliases are spread out/],
  ["an alias that holds itself", "engines: &a { x: *a }\n", "config.syntax", 1, /holds itself/],
  ["an alias to nothing", "extends: *nope\n", "config.syntax", 1, /no anchor/],
  ["a merge key without a map", "services: { <<: 5 }\n", "config.syntax", 1, /takes a map/],
  ["10,000 levels in brackets", `announce: ${"[".repeat(10_000)}${"]".repeat(10_000)}\n`, "config.too-large", undefined, /nest deeper/],
  ["10,000 levels in dashes", `${"- ".repeat(10_000)}x\n`, "config.too-large", undefined, /nest deeper/],
  ["200 levels", `announce: ${"[".repeat(200)}${"]".repeat(200)}\n`, "config.too-large", undefined, /nest deeper/],
  ["300,000 closing brackets", "]".repeat(300_000), "config.syntax", 1, /unexpected/],
  ["60,000 keys", Array.from({ length: 60_000 }, (_, index) => `k${index}: 1`).join("\n"), "config.too-large", 50_000, /more than 50000 values/],
  ["a text of 900 kB", `description: ${"x".repeat(900_000)}\n`, "config.invalid", 1, /at most 65536/],
  ["__proto__", "services:\n  __proto__: { command: [x] }\n", "config.unknown-key", 2, /__proto__/],
  ["a map as a key", "? [a, b]\n: c\n", "config.syntax", 1, /plain word/],
  ["a number beyond numbers", "health: { port: 1e999 }\n", "config.invalid", 1, /number Infinity/],
  ["no number", "jobs: { maxDepth: .nan }\n", "config.invalid", 1, /number NaN/],
  ["a tag", 'description: !!js/function "x"\n', "config.syntax", 1, /!!js\/function is an unknown tag/],
  ["a list as the file", "- a\n", "config.invalid", 1, /file is a list/],
  ["a word as the file", "hello\n", "config.invalid", 1, /single value/],
];

for (const [name, content, code, line, message] of refused) {
  test(`refused: ${name}`, () => {
    const error = refusal(() => loadText(content));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    assert.equal(error.where?.line, line);
    assert.ok(error.others.length <= 50, "the list of mistakes ends");
    assert.ok((error.where?.source ?? "").length <= 200, "a long line is cut");
  });
}

test("hostile keys change no prototype", () => {
  refusal(() => loadText("constructor: { prototype: { polluted: 1 } }\n__proto__: { polluted: 1 }\n"));
  assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
});

test("thousands of mistakes are counted, not listed", () => {
  const keys = Array.from({ length: 5000 }, (_, index) => `k${index}: 1`).join(", ");
  const { others } = refusal(() => loadText(`log: { ${keys} }\njobs: { ${keys} }\n`));
  assert.equal(others.length, 50);
  assert.match(others.at(-1)?.message ?? "", /more mistakes/);
});

test("a byte-order mark and Windows line ends are no mistake", () => {
  assert.equal(loadText("\ufefflog:\r\n  level: debug\r\n").config.log.level, "debug");
});

test("what is no regular file is refused without waiting for it", () => {
  using folder = new Folder();
  const path = (name: string) => join(folder.path, name);
  mkdirSync(path("folder.yaml"));
  assert.equal(spawnSync("mkfifo", [path("pipe.yaml")]).status, 0);
  symlinkSync("loop.yaml", path("loop.yaml"));
  folder.write("big.yaml", `# ${"x".repeat(1_000_001)}`);
  const rows: [file: string, code: string, message: RegExp][] = [
    ["folder.yaml", "config.not-found", /is a folder/],
    ["pipe.yaml", "config.not-found", /is a pipe/],
    ["loop.yaml", "config.not-found", /symbolic links/],
    ["/dev/zero", "config.not-found", /is a device/],
    ["big.yaml", "config.too-large", /the limit is 1000000/],
    ["none.yaml", "config.not-found", /no such file/],
    ["big.yaml/x", "config.not-found", /not a directory/],
  ];
  for (const [file, code, message] of rows) {
    const error = refusal(() => load({ cwd: folder.path, file }));
    assert.equal(error.code, code, file);
    assert.match(error.message, message);
  }
});

test("a folder under the default name is reported, not passed over", () => {
  using folder = new Folder();
  mkdirSync(join(folder.path, "fettle.yaml"));
  assert.match(refusal(() => load({ cwd: folder.path })).message, /fettle\.yaml: it is a folder/);
});
