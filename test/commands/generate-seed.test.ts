import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { inflateSync } from "node:zlib";
import { createPlace } from "./program.ts";

const python = process.env["FETTLE_TEST_PYTHON"] ?? process.env["FETTLE_PYTHON"];
const skip = python ? false : "set FETTLE_TEST_PYTHON to a Python with the engine's requirements";

/** The pixels of a PNG: its IDAT chunks, inflated. */
function pixels(path: string): Buffer {
  const bytes = readFileSync(path);
  const parts: Buffer[] = [];
  for (let at = 8; at < bytes.length; at += 12 + bytes.readUInt32BE(at)) {
    if (bytes.toString("latin1", at + 4, at + 8) === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + bytes.readUInt32BE(at)));
  }
  return inflateSync(Buffer.concat(parts));
}

test("the same seed makes the same pixels, in one run and in the next; without one it is random, and told", { timeout: 180_000, skip }, async () => {
  await using place = createPlace();
  const env = { FETTLE_PYTHON: python, OMP_NUM_THREADS: "1" };
  const common = ["generate", "--profile", "demo", "--steps", "2", "--width", "64", "--height", "64", "--json"];
  const job = (seed: object) => JSON.stringify({ prompt: "a castle", ...seed });
  writeFileSync(join(place.dir, "jobs.jsonl"), [job({ seed: 7 }), job({ seed: 8 }), job({ seed: 7 }), job({}), job({ seed: -1 })].join("\n"));
  const many = place.run([...common, "--jobs", "jobs.jsonl", "--out", "out/{n}.png"], { env });
  assert.equal(await many.ended, 0, many.said());
  const single = place.run([...common, "--prompt", "a castle", "--seed", "7", "--out", "out/single-{seed}.png"], { env });
  assert.equal(await single.ended, 0, single.said());
  const seeds = many
    .out()
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { seed: number }).seed);
  assert.deepEqual(seeds.slice(0, 3), [7, 8, 7]);
  assert.ok(seeds.slice(3).every((seed) => Number.isSafeInteger(seed) && seed >= 0));
  assert.notEqual(seeds[3], seeds[4]);
  const [first, other, twin] = [1, 2, 3].map((n) => pixels(join(place.dir, `out/${n}.png`)));
  assert.deepEqual(first, twin);
  assert.deepEqual(first, pixels(join(place.dir, "out/single-7.png")));
  assert.notDeepEqual(first, other);
});

test("--format and --quality change the file, and {ext} its name", { timeout: 180_000, skip }, async () => {
  await using place = createPlace();
  const env = { FETTLE_PYTHON: python, OMP_NUM_THREADS: "1" };
  const size = ["--steps", "1", "--width", "64", "--height", "64", "--seed", "1"];
  const run = place.run(["generate", "--profile", "demo", "--prompt", "x", ...size, "--format", "webp", "--quality", "50", "--out", "a.{ext}"], { env });
  assert.equal(await run.ended, 0, run.said());
  assert.equal(readFileSync(join(place.dir, "a.webp")).toString("latin1", 8, 12), "WEBP");
});
