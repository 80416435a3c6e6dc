import assert from "node:assert/strict";
import { test } from "node:test";
import { ImageCheck } from "../../src/results/image/image-check.ts";
import { ImageFault, type ImageFacts } from "../../src/results/image/image-format.ts";
import { seededRandom } from "../fixtures/seeded-random.ts";
import * as pictures from "../fixtures/tiny-pictures.ts";

async function check(bytes: Buffer, size = 1000): Promise<ImageFacts> {
  const image = new ImageCheck();
  for (let at = 0; at < bytes.length; at += size) await image.push(bytes.subarray(at, at + size));
  return await image.end();
}

test("a JPEG's size is read, and black is told from almost black in whatever pieces it comes", async () => {
  const cases: [Buffer, boolean | undefined][] = [
    [pictures.blackJpeg, true],
    [pictures.blackGreyJpeg, true],
    [pictures.blackRestartJpeg, true],
    [pictures.dotJpeg, false],
    [pictures.dotGreyJpeg, false],
    [pictures.blackProgressiveJpeg, undefined],
  ];
  for (const [bytes, isBlack] of cases)
    for (const size of [1, 3, 100_000]) assert.deepEqual(await check(bytes, size), { mime: "image/jpeg", extension: "jpg", width: 40, height: 24, isBlack });
});

test("each kind of WebP is measured", async () => {
  for (const bytes of [pictures.lossyWebp, pictures.losslessWebp, pictures.alphaWebp])
    for (const size of [1, 100_000])
      assert.deepEqual(await check(bytes, size), { mime: "image/webp", extension: "webp", width: 40, height: 24, isBlack: undefined });
});

test("one that is cut off anywhere is refused", async () => {
  for (const bytes of [pictures.dotJpeg, pictures.lossyWebp, pictures.losslessWebp, pictures.alphaWebp])
    for (let end = 1; end < bytes.length - 1; end++) await assert.rejects(check(bytes.subarray(0, end)), ImageFault, `${end} of ${bytes.length} bytes`);
});

test("a header that claims nothing or too much is refused", async () => {
  const frame = pictures.dotJpeg.indexOf(Buffer.from([0xff, 0xc0]));
  for (const side of [0, 65_535]) {
    const copy = Buffer.from(pictures.dotJpeg);
    copy.writeUInt16BE(side, frame + 5);
    copy.writeUInt16BE(side, frame + 7);
    await assert.rejects(check(copy), /claims a size of/);
  }
});

test("damage never crashes and never hangs", async () => {
  const random = seededRandom(5);
  for (const bytes of Object.values(pictures)) {
    for (let round = 0; round < 200; round++) {
      const copy = Buffer.from(bytes);
      for (let times = random.below(4); times >= 0; times--) copy[random.below(copy.length)] = random.below(256);
      await check(copy, random.below(copy.length) + 1).catch((error: unknown) => assert.ok(error instanceof ImageFault, String(error)));
    }
  }
});
