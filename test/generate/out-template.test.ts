import assert from "node:assert/strict";
import { test } from "node:test";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { type NameFacts, parseOut } from "../../src/generate/out-template.ts";

const facts: NameFacts = { seed: 7, index: 0, job: "castle", n: 3, prompt: "A castle, at DAWN!", date: new Date(2026, 0, 5), mime: "image/png" };
const pathOf = (out: string | undefined, more: Partial<NameFacts> = {}, many = false) => parseOut({ out, cwd: "/no/where", many }).path({ ...facts, ...more });

for (const [out, path] of [
  [undefined, "/no/where/fettle-7-0.png"],
  ["images/", "/no/where/images/fettle-7-0.png"],
  ["a.png", "/no/where/a.png"],
  ["../up/a", "/no/up/a"],
  ["out/{seed}-{index}.png", "/no/where/out/7-0.png"],
  ["{job}/{n}", "/no/where/castle/3.png"],
  ["{prompt}.{ext}", "/no/where/a-castle-at-dawn.png"],
  ["/abs/{date}/{{x}}-{index}.png", "/abs/2026-01-05/{x}-0.png"],
] as const) {
  test(`--out ${out} names ${path}`, () => assert.equal(pathOf(out), path));
}

test("many jobs in a folder are named by job", () => {
  assert.equal(pathOf("images/", {}, true), "/no/where/images/castle-0.png");
  assert.equal(pathOf(undefined, { job: undefined }, true), "/no/where/job-3-0.png");
});

test("the ending follows the format", () => {
  assert.equal(pathOf("{n}.{ext}", { mime: "image/webp" }), "/no/where/3.webp");
  assert.equal(pathOf("{n}", { mime: "image/jpeg" }), "/no/where/3.jpg");
});

test("no value leads out of the folder, and two ids never share a name", () => {
  const hostile = ["../../etc/passwd", "..", ".", "/", "a/b", "a_b", "a\\b", "~", "-rf", ".hidden", "x".repeat(500), "é/..", "%2e%2e", "a\n"];
  const paths = hostile.map((job) => pathOf("out/{job}/{prompt}.png", { job, prompt: job }));
  for (const path of paths) assert.match(path, /^\/no\/where\/out\/[^/]{1,120}\/[^/]{1,120}\.png$/);
  for (const path of paths) assert.doesNotMatch(path, /\/\.|\/-/);
  assert.equal(new Set(paths).size, hostile.length);
  assert.equal(pathOf("{prompt}.png", { prompt: { toString: () => "/etc" } }), "/no/where/untitled.png");
  assert.equal(pathOf("{prompt}.png", { prompt: "城 ".repeat(200) }).length < 160, true);
});

for (const [out, many, message] of [
  ["{sede}.png", false, /there is no \{sede\}/],
  ["{}.png", false, /there is no \{\}/],
  ["{seed}/{__proto__}.png", false, /there is no \{__proto__\}/],
  ["", false, /names nothing/],
  ["a\0.png", false, /zero byte/],
  ["a.png", true, /share one name/],
  ["out/{index}.{ext}", true, /share one name/],
] as const) {
  test(`--out ${JSON.stringify(out)} is refused`, () => {
    assert.throws(
      () => parseOut({ out, cwd: "/no/where", many }),
      (error) => error instanceof FettleError && error.code === "cli.bad-value" && message.test(error.message),
    );
  });
}
