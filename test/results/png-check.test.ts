import assert from "node:assert/strict";
import { test } from "node:test";
import { ImageCheck } from "../../src/results/image/image-check.ts";
import { ImageFault, type ImageFacts } from "../../src/results/image/image-format.ts";
import { noisePng } from "../fixtures/noise-png.ts";
import { makePng, pngChunk, pngHeader, pngSignature, type PngWish } from "../fixtures/png.ts";
import { seededRandom } from "../fixtures/seeded-random.ts";

async function check(bytes: Buffer, cut: (left: number) => number = () => 1000): Promise<ImageFacts> {
  const image = new ImageCheck();
  try {
    for (let at = 0; at < bytes.length;) {
      const size = Math.max(1, cut(bytes.length - at));
      await image.push(bytes.subarray(at, at + size));
      at += size;
    }
    return await image.end();
  } finally {
    image.close();
  }
}

const forms: PngWish[] = [0, 2, 4, 6].flatMap((colour) =>
  (colour === 0 ? [1, 2, 4, 8, 16] : [8, 16]).flatMap((bits) => [false, true].map((interlaced) => ({ width: 13, height: 9, colour, bits, interlaced }))),
);

test("every pixel form is read, plain and interlaced, and black is told from almost black", async () => {
  for (const form of forms) {
    const name = JSON.stringify(form);
    assert.deepEqual(
      await check(makePng({ ...form, filter: (row) => row % 5 })),
      { mime: "image/png", extension: "png", width: 13, height: 9, isBlack: true },
      name,
    );
    // The last colour sample of the image is not zero; for a form with alpha, the samples after it are.
    const size = makePngBytes(form);
    const alphaBytes = form.colour === 4 || form.colour === 6 ? (form.bits ?? 8) / 8 : 0;
    const last = size - 1 - alphaBytes;
    assert.equal((await check(makePng({ ...form, fill: (at) => (at === last ? 0x80 : 0) }), () => 7)).isBlack, false, name);
  }
});

/** How many bytes the rows have, filter bytes not counted. */
function makePngBytes(form: PngWish): number {
  let bytes = 0;
  makePng({ ...form, fill: (at) => ((bytes = at + 1), 0) });
  return bytes;
}

test("alpha alone makes no picture", async () => {
  assert.equal((await check(makePng({ width: 4, height: 4, colour: 6, fill: (at) => (at % 4 === 3 ? 255 : 0) }))).isBlack, true);
  assert.equal((await check(makePng({ width: 4, height: 4, colour: 4, bits: 16, fill: (at) => (at % 4 > 1 ? 255 : 0) }))).isBlack, true);
});

test("a palette's colours count, not its indices, with any filter", async () => {
  const palette = Buffer.from([0, 0, 0, 9, 9, 9, 0, 0, 0]);
  const wish = { width: 8, height: 4, colour: 3, palette };
  assert.equal((await check(makePng(wish))).isBlack, true);
  // Filter 1 (left): a 2 and then zeros are twos all along, and entry 2 is black.
  const twos = { ...wish, fill: (at: number) => (at % 8 === 0 ? 2 : 0), filter: () => 1 };
  assert.equal((await check(makePng(twos))).isBlack, true);
  assert.equal((await check(makePng({ ...twos, palette: Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 1]) }))).isBlack, false);
  for (const filter of [0, 1, 2, 3, 4])
    assert.equal((await check(makePng({ ...wish, bits: 2, filter: () => filter, fill: (at) => (at === 1 ? 1 : 0) }))).isBlack, false);
  await assert.rejects(check(makePng({ ...wish, fill: () => 3, filter: () => 0 })), /colour that its palette lacks/);
});

test("many small chunks, foreign chunks and bytes behind the end are no fault", async () => {
  const wish = {
    width: 50,
    height: 50,
    fill: (at: number) => at * 7,
    idatBytes: 3,
    extra: [pngChunk("tEXt", Buffer.from("parameters\0a prompt")), pngChunk("eXIf")],
  };
  const png = Buffer.concat([makePng(wish), Buffer.from("tail")]);
  for (const size of [1, 5, 100_000]) assert.equal((await check(png, () => size)).isBlack, false);
});

test("what is broken is refused with its reason", async () => {
  const good = makePng({ width: 20, height: 20, fill: (at) => at });
  const wrongRows = (change: (rows: Buffer) => Buffer) => makePng({ width: 20, height: 20, fill: (at) => at, scanlines: change });
  const crc = Buffer.from(good);
  crc[good.length - 13] = (crc[good.length - 13] ?? 0) ^ 1;
  const faults: [Buffer, RegExp][] = [
    [Buffer.alloc(0), /is empty/],
    [Buffer.from("hi"), /only 2 bytes/],
    [Buffer.from("<!DOCTYPE html><html>"), /no PNG, JPEG or WebP.*DOCTYPE/],
    [good.subarray(0, 20), /cut off in its header/],
    [good.subarray(0, good.length - 30), /cut off before its end/],
    [good.subarray(0, good.length - 2), /cut off before its end/],
    [crc, /checksum of its IDAT/],
    [wrongRows((rows) => rows.subarray(0, -1)), /fewer pixels/],
    [wrongRows((rows) => Buffer.concat([rows, Buffer.alloc(1)])), /more pixels/],
    [wrongRows((rows) => (rows.fill(5, 0, 1), rows)), /unknown filter 5/],
    [makePng({ width: 0, height: 5 }), /size of 0x5/],
    [makePng({ width: 1, height: 1, bits: 3 }), /no known pixel form/],
    [makePng({ width: 1, height: 1, colour: 3 }), /palette is missing/],
    [makePng({ width: 1, height: 1, extra: [pngChunk("QQQQ")] }), /unknown chunk QQQQ/],
    [Buffer.concat([pngSignature, pngHeader({ width: 1, height: 1 }), pngChunk("IEND")]), /has no pixels/],
    [Buffer.concat([pngSignature, pngHeader({ width: 1, height: 1 }), pngChunk("IDAT", Buffer.from("not zlib")), pngChunk("IEND")]), /cannot be unpacked/],
    [Buffer.concat([pngSignature, pngHeader({ width: 60_000, height: 60_000 }), pngChunk("IDAT"), pngChunk("IEND")]), /larger than 268435456 pixels/],
    [Buffer.concat([pngSignature, pngHeader({ width: 16_000, height: 16_000 }), makePng({ width: 2, height: 2 }).subarray(33)]), /fewer pixels/],
  ];
  for (const [bytes, reason] of faults)
    await assert.rejects(check(bytes), (error) => error instanceof ImageFault && reason.test(error.message), String(reason));
});

test("pixels behind the end of the packed stream, as some writers leave them, are no fault", async () => {
  const png = makePng({ width: 3, height: 3, fill: () => 1 });
  const idat = png.indexOf("IDAT") - 4;
  const withJunk = Buffer.concat([png.subarray(0, png.length - 12), pngChunk("IDAT", Buffer.from("junk")), png.subarray(png.length - 12)]);
  assert.ok(idat > 0);
  assert.equal((await check(withJunk)).isBlack, false);
});

test("a flipped bit anywhere is found, and nothing hangs", async () => {
  const random = seededRandom(7);
  const png = makePng({ width: 40, height: 30, fill: (at) => (at * 31) & 255, filter: (row) => row % 5, idatBytes: 500 });
  for (let round = 0; round < 400; round++) {
    const copy = Buffer.from(png);
    const at = random.below(copy.length);
    copy[at] = (copy[at] ?? 0) ^ (1 << random.below(8));
    await assert.rejects(
      check(copy, (left) => random.below(left) + 1),
      ImageFault,
      `byte ${at}`,
    );
  }
});

test("random bytes behind a true beginning never pass and never crash", async () => {
  const random = seededRandom(11);
  for (let round = 0; round < 200; round++) {
    const head = makePng({ width: 9, height: 9 }).subarray(0, random.below(50));
    const junk = Buffer.from(Array.from({ length: random.below(300) }, () => random.below(256)));
    await assert.rejects(check(Buffer.concat([head, junk])), ImageFault);
  }
});

test("a large noise image is read whole", async () => {
  assert.equal((await check(noisePng(4_000_000), () => 48_000)).isBlack, false);
});
