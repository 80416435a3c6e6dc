import assert from "node:assert/strict";
import { test } from "node:test";
import { s3Keys, s3Skip, startS3 } from "../doubles/s3-server.ts";
import { makePng } from "../fixtures/png.ts";
import { sdapiAnswer, smallPng } from "../fixtures/sdapi-answer.ts";
import { finish, formatOf, type FinishWish } from "./finish-rig.ts";

type S3 = NonNullable<NonNullable<FinishWish["results"]>["s3"]>;

const second = makePng({ width: 9, height: 9, fill: (at) => at % 251 });
const answer = sdapiAnswer([smallPng, second], { info: '{"seed": 7, "infotexts": ["one", "two"]}' });

function s3Of(server: { endpoint: string; bucket: string }, more: Partial<S3> = {}): S3 {
  const usual = {
    sessionToken: "",
    region: "us-east-1",
    style: "auto",
    key: "{job}/{index}.{ext}",
    publicUrl: "",
    expires: 604_800_000,
    tries: 3,
    when: "always",
  } as const;
  return { ...usual, ...s3Keys, endpoint: server.endpoint, bucket: server.bucket, ...more };
}

async function download(url: string | undefined): Promise<Buffer> {
  const response = await fetch(url ?? "", { signal: AbortSignal.timeout(20_000) });
  assert.equal(response.status, 200);
  return Buffer.from(await response.arrayBuffer());
}

test("with a bucket, the answer holds URLs that work in the images' places", { skip: s3Skip, timeout: 120_000 }, async () => {
  await using s3 = await startS3();
  const done = await finish({ answer, results: { s3: s3Of(s3) }, id: "sync-1/x" });
  assert.equal(done.type, "output");
  const [first, next] = done.value.images;
  assert.ok(first?.startsWith(`${s3.endpoint}/pics/sync-1_x-`));
  assert.ok((await download(first)).equals(smallPng));
  assert.ok((await download(next)).equals(second));
  const rest = done.value.images.reduce((text, url) => text.replace(url, "*"), done.text);
  assert.equal(rest, answer.replace(smallPng.toString("base64"), "*").replace(second.toString("base64"), "*"));

  const webp = await finish({ answer, results: { s3: s3Of(s3), format: "webp" }, options: { shape: "worker-sdxl" } });
  assert.deepEqual(Object.keys(webp.value), ["images", "image_url", "seed"]);
  assert.equal(webp.value.image_url, webp.value.images[0]);
  assert.match(new URL(webp.value.image_url ?? "").pathname, /\/job-1\/0\.webp$/);
  assert.equal(formatOf((await download(webp.value.image_url)).toString("base64")), "webp");
  assert.equal(webp.value.seed, 7);

  const open = await finish({ answer, results: { s3: s3Of(s3, { publicUrl: "https://cdn.example.com/p/", key: "a b/{job}/{index}.{ext}" }) } });
  assert.equal(open.value.images[1], "https://cdn.example.com/p/a%20b/job-1/1.png");
});

test("only a result that is too large is uploaded when that is said", { skip: s3Skip, timeout: 120_000 }, async () => {
  await using s3 = await startS3();
  const results = { s3: s3Of(s3, { when: "tooLarge" }) };
  assert.ok((await finish({ answer, results })).isSame);
  assert.ok((await finish({ answer, results, maxBytes: answer.length + 64 })).isSame);
  assert.equal(s3.requests.length, 0);
  const big = sdapiAnswer(Array.from({ length: 12 }, (_, at) => makePng({ width: 40, height: 40, fill: (byte) => (byte * byte * (at + 3)) >> 4 })));
  assert.ok(big.length > 8192);
  const done = await finish({ answer: big, results, maxBytes: 8192 });
  assert.equal(done.type, "output");
  assert.equal(done.value.images.length, 12);
  for (const url of done.value.images) assert.equal(formatOf((await download(url)).toString("base64")), "png");
  const still = await finish({ answer: big, results, maxBytes: 500 });
  assert.ok(still.type === "failed" && still.failure.code === "result.too-large");
});

test("an upload that fails is a failed job, and no secret is in what is said of it", { skip: s3Skip, timeout: 120_000 }, async () => {
  await using s3 = await startS3();
  const failed = async (more: Partial<S3>, pattern: RegExp) => {
    const done = await finish({ answer, results: { s3: s3Of(s3, more) } });
    assert.ok(done.type === "failed" && done.failure.code === "result.cannot-upload");
    assert.match(done.failure.message, pattern);
    const said = JSON.stringify(done.failure) + done.lines.join();
    assert.ok(![...Object.values(s3Keys), "X-Amz-Signature", "some-wrong-secret"].some((secret) => said.includes(secret)));
  };
  await failed({ secretAccessKey: "some-wrong-secret" }, /403 \(SignatureDoesNotMatch/);
  await failed({ bucket: "other" }, /404 \(NoSuchBucket/);
  s3.fates.push("pass", { status: 403 });
  await failed({}, /it answered 403/);
  s3.fates.push({ status: 503 }, { status: 503 });
  assert.equal((await finish({ answer, results: { s3: s3Of(s3) } })).type, "output");
  await s3.stop();
  await failed({ tries: 2 }, /, 2 times/);
});

test("a job's own bucket goes before the configured one, and never into our own network", { skip: s3Skip, timeout: 120_000 }, async () => {
  await using s3 = await startS3();
  const bucket = { ...s3Keys, bucket: "pics", endpoint: s3.endpoint, mayBePrivate: true };
  const nowhere = s3Of({ endpoint: "http://127.0.0.1:9", bucket: "pics" }, { tries: 1 });
  const done = await finish({ answer, results: { s3: nowhere }, options: { bucket } });
  assert.equal(done.type, "output");
  assert.match(new URL(done.value.images[0] ?? "").pathname, /^\/pics\/job-1\/[a-z]{8}\.png$/);
  assert.ok((await download(done.value.images[1])).equals(second));

  const inside = await finish({ answer, options: { bucket: { ...bucket, mayBePrivate: false } } });
  assert.ok(inside.type === "failed" && inside.failure.code === "result.cannot-upload");
  assert.match(inside.failure.message, /not a public address/);
  assert.ok(!JSON.stringify(inside.failure).includes(s3Keys.secretAccessKey));
});

test("a stop in the middle of an upload ends it", { skip: s3Skip, timeout: 60_000 }, async () => {
  await using s3 = await startS3();
  const stop = new AbortController();
  s3.fates.push({ dropAfter: Number.POSITIVE_INFINITY }, { dropAfter: Number.POSITIVE_INFINITY });
  const going = finish({ answer, results: { s3: s3Of(s3) }, signal: stop.signal });
  await s3.untilRequests(2);
  stop.abort();
  const end = await going;
  assert.ok(end.type === "failed" && end.failure.code === "result.cannot-upload");
  assert.match(end.failure.message, /stopped/);
});
