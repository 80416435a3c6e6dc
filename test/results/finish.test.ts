import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { makePng } from "../fixtures/png.ts";
import { sdapiAnswer, smallPng } from "../fixtures/sdapi-answer.ts";
import { alphaWebp, blackProgressiveJpeg, lossyWebp } from "../fixtures/tiny-pictures.ts";
import { bytesOf, finish, formatOf } from "./finish-rig.ts";

const python = process.env["FETTLE_TEST_PYTHON"];
const skip = python ? false : "FETTLE_TEST_PYTHON names no Python with Pillow";
const info = JSON.stringify({ seed: 12_345_678_901_234_567_890n.toString(), infotexts: ["first: 猫", "second"] }).replace(/"(\d{20})"/, "$1");
const second = makePng({ width: 9, height: 9, fill: (at) => at % 251 });
function noise(side: number, seed: number): Buffer {
  let state = seed;
  return makePng({ width: side, height: side, fill: () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) >>> 24 });
}
const dataUrl = (bytes: Buffer, mime = "image/png") => `data:${mime};base64,${bytes.toString("base64")}`;

test("what nobody asked for is not done: the output itself is handed on", async () => {
  for (const wish of [
    {},
    { maxBytes: 1_000_000 },
    { results: { format: "png" as const } },
    { options: { format: "png" as const } },
    { results: { verify: "full" as const } },
  ]) {
    const done = await finish({ answer: sdapiAnswer([smallPng, second]), results: { python: "/no/such" }, ...wish });
    assert.ok(done.isSame);
    assert.deepEqual(done.lines, []);
  }
});

test("images change their format in their places; everything around them stays as it was, byte for byte", { skip, timeout: 60_000 }, async () => {
  const odd = `{ "before" : [1, {"images": ["x"]}], "images":\n[ "${smallPng.toString("base64")}" , "${dataUrl(second).replaceAll("/", "\\/")}"\t,"${lossyWebp.toString("base64")}" ],
    "info": ${JSON.stringify(info)} , "tail": "\\u00e9\\ud83d\\ude00" }`;
  const done = await finish({ answer: odd, results: { format: "webp", quality: 90 } });
  assert.equal(done.type, "output");
  const [first, next, last] = done.value.images;
  assert.deepEqual([first, next, last].map(formatOf), ["webp", "webp", "webp"]);
  assert.ok(!first?.startsWith("data:"));
  assert.ok(next?.startsWith("data:image/webp;base64,"));
  assert.equal(last, lossyWebp.toString("base64"));
  const around = (text: string, images: readonly string[]) => images.reduce((rest, image) => rest.replace(image, "*"), text);
  const before = [smallPng.toString("base64"), dataUrl(second).replaceAll("/", "\\/"), lossyWebp.toString("base64")];
  assert.equal(around(done.text, done.value.images), around(odd, before));
  assert.match(bytesOf(first).toString("latin1"), /UNICODE\0\0f\0i\0r\0s\0t/);
  if (done.type === "output")
    assert.deepEqual(
      done.output.images.map(({ mime }) => mime),
      ["image/webp", "image/webp", "image/webp"],
    );
  const asked = await finish({ answer: sdapiAnswer([smallPng]), results: { format: "webp" }, options: { format: "jpeg", quality: 50 } });
  assert.deepEqual(asked.value.images.map(formatOf), ["jpeg"]);
});

test("without a Python a conversion fails, or is left out, as configured; never what the job itself asked for", { timeout: 60_000 }, async () => {
  const answer = sdapiAnswer([smallPng]);
  const broken = { python: "/no/such/python" };
  const failed = await finish({ answer, results: { ...broken, format: "webp" } });
  assert.ok(failed.type === "failed" && failed.failure.code === "result.cannot-convert");
  const kept = await finish({ answer, results: { ...broken, format: "webp", ifCannotConvert: "keep" } });
  assert.ok(kept.isSame);
  assert.match(kept.warnings.join(), /no program \/no\/such\/python.*handed out as they are/);
  assert.match(kept.lines.join(), /handed out as they are/);
  const asked = await finish({ answer, results: { ...broken, ifCannotConvert: "keep" }, options: { format: "webp" } });
  assert.ok(asked.type === "failed" && asked.failure.code === "result.cannot-convert");
});

test("worker-sdxl's callers get data URIs, the first of them once more, and the seed with all its digits", { skip, timeout: 60_000 }, async () => {
  const answer = sdapiAnswer([smallPng, second], { info });
  const done = await finish({ answer, options: { shape: "worker-sdxl" } });
  assert.deepEqual(Object.keys(done.value), ["images", "image_url", "seed"]);
  assert.deepEqual(done.value.images, [dataUrl(smallPng), dataUrl(second)]);
  assert.equal(done.value.image_url, dataUrl(smallPng));
  assert.match(done.text, /"seed":12345678901234567890\}$/);
  const webp = await finish({ answer, options: { shape: "worker-sdxl", format: "webp" } });
  assert.ok(webp.value.image_url?.startsWith("data:image/webp;base64,"));
  assert.equal(webp.value.image_url, webp.value.images[0]);
  const seedless = await finish({ answer: JSON.stringify({ images: [dataUrl(smallPng)] }), options: { shape: "worker-sdxl" } });
  assert.equal(seedless.text, `{"images":["${dataUrl(smallPng)}"],"image_url":"${dataUrl(smallPng)}","seed":null}`);
});

test("a result over its source's limit fails with both numbers, or has its images made smaller", { skip, timeout: 120_000 }, async () => {
  const answer = sdapiAnswer([noise(200, 1), noise(200, 9)], { info: info.replace("猫", "a cat") });
  const maxBytes = Math.floor(answer.length / 2);
  const failed = await finish({ answer, maxBytes });
  assert.ok(failed.type === "failed" && failed.failure.code === "result.too-large");
  assert.match(failed.failure.message, new RegExp(`it has ${answer.length + 64} bytes, and its source takes at most ${maxBytes}\\.$`));
  assert.deepEqual(failed.failure.details, { sizeBytes: answer.length + 64, maxBytes });

  const shrunk = await finish({ answer, maxBytes, results: { whenTooLarge: "reencode" } });
  assert.equal(shrunk.type, "output");
  assert.deepEqual(shrunk.value.images.map(formatOf), ["webp", "webp"]);
  assert.ok(shrunk.text.length + 11 <= maxBytes);
  assert.match(shrunk.warnings.join(), /made smaller \(WebP, quality \d+\)/);
  assert.match(shrunk.value.info ?? "", /a cat/);
  const jpeg = await finish({ answer, maxBytes, results: { whenTooLarge: "reencode", format: "jpeg", quality: 100 } });
  assert.deepEqual(jpeg.value.images.map(formatOf), ["jpeg", "jpeg"]);
  assert.ok(jpeg.text.length + 11 <= maxBytes);
  const sdxl = await finish({ answer, maxBytes, results: { whenTooLarge: "reencode" }, options: { shape: "worker-sdxl" } });
  assert.ok(sdxl.type === "failed" || sdxl.text.length + 11 <= maxBytes);

  const never = await finish({ answer, maxBytes: 3000, results: { whenTooLarge: "reencode" } });
  assert.ok(never.type === "failed" && never.failure.code === "result.too-large");
  assert.match(never.failure.message, /too large as WebP in any quality/);
  const noPython = await finish({ answer, maxBytes, results: { whenTooLarge: "reencode", python: "/no/such" } });
  assert.ok(noPython.type === "failed" && noPython.failure.code === "result.too-large");
  assert.match(noPython.failure.message, /cannot be made smaller \(.*no program/);
});

test("the record beside an output counts too, and an answer without images can only fail", async () => {
  const answer = sdapiAnswer([smallPng]);
  assert.equal((await finish({ answer, maxBytes: answer.length + 64 })).type, "output");
  assert.equal((await finish({ answer, maxBytes: answer.length + 63 })).type, "failed");
  assert.equal((await finish({ answer, maxBytes: answer.length + 64, options: { meta: true } })).type, "failed");
  const failed = await finish({ answer: '{"images":[],"text":"much"}', maxBytes: 20, results: { whenTooLarge: "reencode" } }).catch((error: unknown) =>
    String(error),
  );
  assert.match(JSON.stringify(failed), /too-large|holds no image/);
});

test("JPEG and WebP are decoded when that is configured: damage and black are found", { skip, timeout: 60_000 }, async () => {
  const full = { verify: "full" as const };
  const black = sdapiAnswer([smallPng, blackProgressiveJpeg]);
  const found = await finish({ answer: black, results: full });
  assert.ok(found.type === "failed" && found.failure.code === "result.bad-image");
  assert.match(found.failure.message, /image 1 is all black/);
  assert.match((await finish({ answer: black, results: full, blackImages: "warn" })).warnings.join(), /image 1 is all black/);
  assert.ok((await finish({ answer: black, results: full, blackImages: "off" })).isSame);
  assert.ok((await finish({ answer: black })).isSame);
  // A WebP that is whole by its structure, with noise in the place of its pixels.
  const damaged = Buffer.from(alphaWebp);
  damaged.fill(0x5a, 60, damaged.length - 4);
  const refused = await finish({ answer: sdapiAnswer([smallPng, damaged]), results: full });
  assert.ok(refused.type === "failed" && refused.failure.code === "result.bad-image");
  assert.match(refused.failure.message, /image 1 cannot be decoded/);
});

test("files are written in the format handed out, with their parameters", { skip, timeout: 60_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), "fettle-files-"));
  try {
    const files = { dir, template: "{job}-{index}.{ext}", parameters: true };
    await finish({ answer: sdapiAnswer([smallPng, second], { info }), results: { files, format: "webp" } });
    assert.deepEqual(readdirSync(dir).sort(), ["job-1-0.txt", "job-1-0.webp", "job-1-1.txt", "job-1-1.webp"]);
    assert.equal(readFileSync(join(dir, "job-1-0.txt"), "utf8"), "first: 猫\n");
    const plain = await finish({ answer: sdapiAnswer([smallPng]), results: { files }, id: "p" });
    assert.ok(plain.isSame);
    assert.ok(readFileSync(join(dir, "p-0.png")).equals(smallPng));
  } finally {
    rmSync(dir, { recursive: true });
  }
});
