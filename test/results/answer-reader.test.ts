import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import type { AnswerVerdict } from "../../src/engines/engine.ts";
import { type AnswerReaderOptions, createAnswerReader } from "../../src/results/answer-reader.ts";
import { noisePng } from "../fixtures/noise-png.ts";
import { makePng } from "../fixtures/png.ts";
import { makeAttempt, sdapiAnswer, smallPng } from "../fixtures/sdapi-answer.ts";

const black = makePng({ width: 8, height: 8 });

interface Wish {
  readonly input?: Record<string, unknown>;
  readonly chunkBytes?: number;
  readonly options?: Partial<AnswerReaderOptions>;
  readonly answersImages?: boolean;
}

async function read(answer: string | Buffer, { input = {}, chunkBytes = 1000, options = {}, answersImages = true }: Wish = {}) {
  await using attempt = await makeAttempt(input);
  const reader = await createAnswerReader({ ...attempt, answersImages }, { blackImages: "fail", ...options });
  const bytes = Buffer.from(answer);
  for (let at = 0; at < bytes.length; at += chunkBytes) if (!(await reader.write(bytes.subarray(at, at + chunkBytes)))) break;
  const verdict = await reader.end();
  const files = new Map<string, Buffer>();
  for (const name of await readdir(attempt.dir)) files.set(name, await readFile(`${attempt.dir}/${name}`));
  return { verdict, files };
}

function reasonOf(verdict: AnswerVerdict): string {
  return verdict.type === "bad" ? `${verdict.code} ${verdict.message}` : "good";
}

test("a good answer is spooled byte for byte, with its facts", async () => {
  const answer = sdapiAnswer([smallPng, noisePng(200_000)]);
  const { verdict, files } = await read(answer, { chunkBytes: 70_000 });
  assert.equal(verdict.type, "good");
  if (verdict.type !== "good") return;
  assert.deepEqual([...files.keys()], ["answer.json"]);
  assert.equal(files.get("answer.json")?.toString(), answer);
  assert.equal(verdict.output.answer.sha256, createHash("sha256").update(answer).digest("hex"));
  assert.equal(verdict.output.answer.sizeBytes, answer.length);
  assert.deepEqual(
    verdict.output.images.map(({ index, mime, width }) => [index, mime, width]),
    [
      [0, "image/png", 8],
      [1, "image/png", verdict.output.images[1]?.width],
    ],
  );
  assert.deepEqual(verdict.output.warnings, []);
});

test("images are kept as files when asked for, also from data: URLs with escapes", async () => {
  const url = `data:image/png;base64,${smallPng.toString("base64")}`;
  const answer = JSON.stringify({ images: [url, smallPng.toString("base64")] }).replaceAll("/", "\\/");
  for (const chunkBytes of [1, 17, 100_000]) {
    const { verdict, files } = await read(answer, { chunkBytes, options: { keepImages: true } });
    assert.equal(reasonOf(verdict), "good");
    assert.deepEqual([...files.keys()].sort(), ["answer.json", "image-0.png", "image-1.png"]);
    assert.ok(files.get("image-0.png")?.equals(smallPng));
    assert.ok(files.get("image-1.png")?.equals(smallPng));
  }
});

test("black images fail, warn or pass, as configured", async () => {
  const answer = sdapiAnswer([smallPng, black]);
  assert.match(reasonOf((await read(answer)).verdict), /result\.bad-image .*image 1 is all black/);
  const warned = (await read(answer, { options: { blackImages: "warn" } })).verdict;
  assert.match(warned.type === "good" ? (warned.output.warnings[0] ?? "") : "", /image 1 is all black/);
  assert.equal(reasonOf((await read(answer, { options: { blackImages: "off" } })).verdict), "good");
});

test("an answer without images passes only when the job wanted none", async () => {
  assert.match(reasonOf((await read(sdapiAnswer([]))).verdict), /bad-answer .*holds no image/);
  assert.equal(reasonOf((await read(sdapiAnswer([]), { input: { send_images: false } })).verdict), "good");
});

test("each way to be no answer has its reason", async () => {
  const good = smallPng.toString("base64");
  const cases: [string | Buffer, RegExp][] = [
    ["", /bad-answer .*is empty/],
    ["<html><body>nginx</body></html>", /bad-answer .*no JSON object/],
    ['["x"]', /bad-answer .*no JSON object/],
    ['{"detail":"ok"}', /bad-answer .*has no "images"/],
    [sdapiAnswer().slice(0, -5), /bad-answer .*breaks off/],
    [`${sdapiAnswer()}{}`, /bad-answer .*at byte/],
    [sdapiAnswer([smallPng, smallPng.subarray(0, 60)]), /bad-image .*image 1 is cut off/],
    [sdapiAnswer([Buffer.from("<html>a gateway</html>")]), /bad-image .*image 0 is no PNG/],
    [JSON.stringify({ images: [""] }), /bad-image .*image 0 is empty/],
    [JSON.stringify({ images: [`${good.slice(0, 40)}*${good.slice(41)}`] }), /bad-image .*not base64/],
    [JSON.stringify({ images: [`${good.slice(0, 40)}\n${good.slice(40)}`] }), /bad-image .*base64/],
    [JSON.stringify({ images: [good.replace(/=+$/, "").slice(0, -1)] }), /bad-image .*multiple of 4/],
    [JSON.stringify({ images: ["data:image/png,abcdefgh"] }), /bad-image .*without base64/],
    [JSON.stringify({ images: [`data:${"x".repeat(500)}`] }), /bad-image .*without base64/],
    [JSON.stringify({ images: [null] }), /bad-answer .*null instead of a string/],
    [Buffer.from(`{"images":["${good.slice(0, 60)}\u0003${good.slice(61)}"]}`), /bad-image .*not base64/],
  ];
  for (const [answer, reason] of cases) assert.match(reasonOf((await read(answer)).verdict), reason);
});

test("an answer above the limit is refused before it is whole", async () => {
  const { verdict, files } = await read(sdapiAnswer([noisePng(400_000)]), { options: { maxBytes: 100_000 }, chunkBytes: 50_000 });
  assert.match(reasonOf(verdict), /larger than 100000 bytes/);
  assert.ok((files.get("answer.json")?.length ?? 0) <= 100_000);
});

test("a discarded answer leaves nothing behind", async () => {
  await using attempt = await makeAttempt();
  const reader = await createAnswerReader(attempt, { blackImages: "fail", keepImages: true });
  const answer = Buffer.from(sdapiAnswer([smallPng, noisePng(300_000)]));
  await reader.write(answer.subarray(0, 150_000));
  assert.ok((await readdir(attempt.dir)).length >= 2);
  await reader.discard();
  assert.deepEqual(await readdir(attempt.dir), []);
});

test("a call that answers with no images may answer with any JSON, and with nothing else", async () => {
  const wish = { answersImages: false, chunkBytes: 3 };
  for (const answer of ['[{"name":"Euler"},["images"]]', "null", " 12.5 ", '"text"', '{"images":{"not":"an array"}}', '{"images":["no base64"]}', "[]"]) {
    const { verdict, files } = await read(answer, wish);
    assert.equal(reasonOf(verdict), "good", answer);
    assert.equal(files.get("answer.json")?.toString(), answer);
    assert.deepEqual(verdict.type === "good" && verdict.output.images, []);
  }
  for (const answer of ["", "nul", "[1,", "{} {}", "null null", "<html>", '"text'])
    assert.match(reasonOf((await read(answer, wish)).verdict), /^engine\.bad-answer /, answer);
});
