import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, watch, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { crc32 } from "node:zlib";
import { FettleError } from "../../src/errors/fettle-error.ts";
import type { Picture } from "../../src/results/picture.ts";
import { reencode, shrink } from "../../src/results/recode/reencode.ts";
import { helperFiles } from "../../src/results/recode/helper-files.ts";
import { makePng, pngChunk } from "../fixtures/png.ts";
import { blackProgressiveJpeg, dotJpeg, lossyWebp } from "../fixtures/tiny-pictures.ts";

const python = process.env["FETTLE_TEST_PYTHON"] ?? "";
const skip = python ? false : "FETTLE_TEST_PYTHON names no Python with Pillow and piexif";
const reader = fileURLToPath(new URL("../fixtures/read_parameters.py", import.meta.url));
const { signal } = new AbortController();

function workshop() {
  const dir = mkdtempSync(join(tmpdir(), "fettle-recode-"));
  return {
    dir,
    place: { python, assetRoot: join(dir, "assets"), dir, signal },
    picture(bytes: Buffer, mime = "image/png", index = 0): Picture {
      const path = join(dir, `source-${index}`);
      writeFileSync(path, bytes);
      return { index, path, mime, sizeBytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex"), width: 8, height: 8 };
    },
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}

interface Seen {
  readonly format: string;
  readonly mode: string;
  readonly size: readonly [number, number];
  readonly parameters: string | null;
  readonly items: Readonly<Record<string, string>>;
  readonly extrema: readonly (readonly [number, number])[];
}

function look({ path }: { path: string } = { path: "" }): Seen {
  const lines = execFileSync(python, [reader, path], { encoding: "utf8" });
  return JSON.parse(lines) as Seen;
}

const text = (key: string, value: string) => pngChunk("tEXt", Buffer.from(`${key}\0${value}`, "latin1"));
const plain = { width: 8, height: 8, fill: (at: number) => (at * 7) % 256 };
const words = "a cat, (red:1.2) – 猫 🐈\nNegative prompt: dög\nSteps: 20, Sampler: Euler, Seed: 18446744073709551615";

test("parameters are read by the webui's own way from each format, whatever was converted to what", { skip, timeout: 60_000 }, async () => {
  using shop = workshop();
  const own = shop.picture(makePng({ ...plain, extra: [text("parameters", "its own: caf\u00e9\nSteps: 4")] }), "image/png", 0);
  const none = shop.picture(makePng(plain), "image/png", 1);
  for (const format of ["webp", "jpeg"] as const) {
    const { pictures, warnings } = await reencode([own, none], { ...shop.place, format, quality: 80, parameters: ["unused", words] });
    assert.deepEqual(warnings, []);
    assert.deepEqual(
      pictures.map((one) => look(one).parameters),
      ["its own: caf\u00e9\nSteps: 4", words],
    );
    for (const one of pictures) {
      assert.equal(one.mime, `image/${format}`);
      assert.equal(one.sizeBytes, statSync(one.path).size);
      assert.equal(one.sha256, createHash("sha256").update(readFileSync(one.path)).digest("hex"));
      assert.equal(look(one).format, format.toUpperCase());
    }
    // And back, and across: nothing is lost on the way.
    for (const other of ["png", format === "webp" ? "jpeg" : "webp"] as const) {
      const back = await reencode(pictures, { ...shop.place, format: other, quality: 80, parameters: [] });
      assert.deepEqual(
        back.pictures.map((one) => look(one).parameters),
        ["its own: caf\u00e9\nSteps: 4", words],
      );
    }
  }
});

test("ComfyUI's prompt and workflow stay where its pages look for them", { skip, timeout: 60_000 }, async () => {
  using shop = workshop();
  const source = shop.picture(makePng({ ...plain, extra: [text("prompt", '{"1":{}}'), text("workflow", '{"nodes":[]}')] }));
  const { pictures } = await reencode([source], { ...shop.place, format: "webp", quality: 80, parameters: [] });
  const { items, parameters } = look(pictures[0]);
  assert.deepEqual([items["make"], items["model"], parameters], ['workflow:{"nodes":[]}', 'prompt:{"1":{}}', null]);
  const huge = shop.picture(makePng({ ...plain, extra: [text("workflow", "x".repeat(70_000)), text("parameters", "short")] }), "image/png", 2);
  const jpeg = await reencode([huge], { ...shop.place, format: "jpeg", quality: 80, parameters: [] });
  assert.match(jpeg.warnings.join(), /Image 2 .*workflow does not fit/);
  assert.equal(look(jpeg.pictures[0]).parameters, "short");
});

test("a picture that has the format is passed on untouched, and no process is started for it", async () => {
  using shop = workshop();
  const pictures = [shop.picture(dotJpeg, "image/jpeg")];
  const same = await reencode(pictures, { ...shop.place, python: "/no/such/python", format: "jpeg", quality: 50, parameters: ["x"] });
  assert.deepEqual(same, { pictures, warnings: [], quality: null });
  assert.deepEqual(readdirSync(shop.dir), ["source-0"]);
});

test("every kind of pixels finds a form in every format", { skip, timeout: 60_000 }, async () => {
  using shop = workshop();
  const palette = Buffer.from([255, 0, 0, 0, 255, 0]);
  const sources = [
    makePng({ ...plain, colour: 0 }),
    makePng({ ...plain, colour: 0, bits: 16, fill: () => 255 }),
    makePng({ ...plain, colour: 4 }),
    makePng({ ...plain, colour: 6, fill: () => 0 }),
    makePng({ ...plain, bits: 1, colour: 3, palette, fill: () => 0 }),
    makePng({ ...plain, bits: 1, colour: 0, fill: () => 255 }),
  ].map((bytes, index) => shop.picture(bytes, "image/png", index));
  sources.push(shop.picture(lossyWebp, "image/webp", 6), shop.picture(blackProgressiveJpeg, "image/jpeg", 7));
  for (const format of ["webp", "jpeg"] as const) {
    const { pictures } = await reencode(sources, { ...shop.place, format, quality: 100, parameters: [] });
    const seen = pictures.map((one) => look(one));
    assert.ok(seen.every((one) => one.format === format.toUpperCase()));
    // White stays white in 16 bits and in 1 bit; wholly transparent is transparent in WebP, and white in JPEG.
    assert.deepEqual(
      [seen[1]?.extrema[0], seen[5]?.extrema[0]],
      [
        [255, 255],
        [255, 255],
      ],
    );
    assert.deepEqual(format === "webp" ? seen[3]?.extrema[3] : seen[3]?.extrema[0], format === "webp" ? [0, 0] : [255, 255]);
  }
});

test("shrinking finds a quality that fits, or says that there is none", { skip, timeout: 60_000 }, async () => {
  using shop = workshop();
  const noise = (side: number) => makePng({ width: side, height: side, fill: (at) => (Math.imul(at + 1, 2_654_435_761) >>> 24) & 255 });
  const sources = [shop.picture(noise(160), "image/png", 0), shop.picture(noise(100), "image/png", 1)];
  const wish = { ...shop.place, format: "webp" as const, parameters: [words, words] };
  const all = await shrink(sources, { ...wish, bytes: 10_000_000, times: [1, 1] });
  assert.equal(all?.quality, 90);
  const size = (pictures: readonly Picture[] = [], times = [1, 1]) =>
    pictures.reduce((sum, { sizeBytes }, at) => sum + Math.ceil(sizeBytes / 3) * 4 * (times[at] ?? 1), 0);
  const bytes = Math.floor(size(all?.pictures) * 0.6);
  const half = await shrink(sources, { ...wish, bytes, times: [1, 1] });
  assert.ok(half && half.quality < 90 && size(half.pictures) <= bytes);
  assert.equal(look(half.pictures[1]).parameters, words);
  const twice = await shrink(sources, { ...wish, bytes, times: [2, 1] });
  assert.ok(!twice || (twice.quality < half.quality && size(twice.pictures, [2, 1]) <= bytes));
  assert.equal(await shrink(sources, { ...wish, bytes: 1000, times: [1, 1] }), undefined);
});

const failure = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof FettleError);
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};

test("without Python, without Pillow, with a broken helper: each is said", { timeout: 60_000 }, async () => {
  using shop = workshop();
  const sources = [shop.picture(makePng(plain))];
  const go = (program: string) => reencode(sources, { ...shop.place, python: program, format: "webp", quality: 80, parameters: [] });
  await assert.rejects(go("/no/such/python"), failure("result.cannot-convert", /there is no program \/no\/such\/python/));
  await assert.rejects(go("false"), failure("result.cannot-convert", /ended with code 1/));
  await assert.rejects(go("echo"), failure("result.cannot-convert", /ended with code 0/));
  const bare = join(shop.dir, "bare-python");
  writeFileSync(bare, `#!/bin/sh\nexec python3 -S "$@"\n`, { mode: 0o755 });
  const script = join(shop.dir, "dying");
  writeFileSync(script, `#!/bin/sh\necho "out of luck" >&2\nkill -9 $$\n`, { mode: 0o755 });
  await assert.rejects(go(script), failure("result.cannot-convert", /SIGKILL: out of luck/));
  await assert.rejects(go(bare), failure("result.cannot-convert", /Pillow cannot be imported.*bare-python/));
});

test("a damaged picture, and one that a format cannot hold, are named", { skip, timeout: 60_000 }, async () => {
  using shop = workshop();
  const go = (bytes: Buffer, format: "webp" | "jpeg") =>
    reencode([shop.picture(makePng(plain), "image/png", 0), shop.picture(bytes, "image/png", 1)], { ...shop.place, format, quality: 80, parameters: [] });
  await assert.rejects(go(makePng(plain).subarray(0, 60), "webp"), failure("result.bad-image", /image 1 cannot be decoded/));
  await assert.rejects(go(makePng({ ...plain, width: 16_384, height: 1 }), "webp"), failure("result.bad-image", /image 1 has a side of more than 16383/));
  assert.equal((await go(makePng({ ...plain, width: 16_384, height: 1 }), "jpeg")).pictures[1]?.width, 16_384);
});

test("a stop ends the helper and what waits for it", { timeout: 60_000 }, async () => {
  using shop = workshop();
  const slow = join(shop.dir, "slow");
  writeFileSync(slow, `#!/bin/sh\n: > "$0.started"\nexec sleep 600\n`, { mode: 0o755 });
  const stop = new AbortController();
  const go = () => reencode([shop.picture(makePng(plain))], { ...shop.place, python: slow, signal: stop.signal, format: "webp", quality: 80, parameters: [] });
  const all = Promise.allSettled([go(), go(), go()]);
  const watcher = watch(shop.dir, (_event, name) => name === "slow.started" && stop.abort());
  for (const { status } of await all) assert.equal(status, "rejected");
  watcher.close();
});

test("every file of the helper travels in the binary", () => {
  const folder = fileURLToPath(new URL("../../src/results/recode/helper", import.meta.url));
  const files = readdirSync(folder).filter((name) => name.endsWith(".py"));
  assert.deepEqual(Object.keys(helperFiles).sort(), files.sort());
  for (const name of files) assert.equal(crc32(helperFiles[name] ?? ""), crc32(readFileSync(join(folder, name))));
});
