import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Artifact } from "../../src/engines/engine.ts";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { bucketOfJob, bucketUrl, regionOf } from "../../src/results/s3/bucket.ts";
import { checkKeyTemplate, keyFor } from "../../src/results/s3/key.ts";
import { placeOf, presignGet } from "../../src/results/s3/sign.ts";
import { upload } from "../../src/results/s3/upload.ts";
import { s3Keys, s3Skip, startS3 } from "../doubles/s3-server.ts";

const { signal } = new AbortController();

function makeFile(sizeBytes: number): Artifact & Disposable {
  const dir = mkdtempSync(join(tmpdir(), "fettle-s3-"));
  const path = join(dir, "image");
  const bytes = randomBytes(sizeBytes);
  writeFileSync(path, bytes);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return { path, mime: "image/png", sizeBytes, sha256, [Symbol.dispose]: () => rmSync(dir, { recursive: true }) };
}

async function sha256At(url: string): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(20_000) });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "image/png");
  return createHash("sha256")
    .update(Buffer.from(await response.arrayBuffer()))
    .digest("hex");
}

const failure = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof FettleError);
  assert.equal(error.code, "result.cannot-upload");
  assert.match(error.message, pattern);
  const all = `${error.message} ${error.hint} ${JSON.stringify(error.details)}`;
  for (const secret of Object.values(s3Keys)) assert.ok(!all.includes(secret));
  assert.ok(!/Signature=|X-Amz/.test(all));
  return true;
};

test("an uploaded image can be read by its presigned URL, whatever its key", { skip: s3Skip, timeout: 90_000 }, async () => {
  await using s3 = await startS3();
  using file = makeFile(3_000_001);
  for (const key of ["a.png", "job/0.png", "ünï çödé/a b+c&d=e.png", "it's (1)!*.png", "50%/~x.png"]) {
    const place = placeOf(s3.config(), key);
    await upload(place, file, { signal });
    const url = await presignGet(place);
    assert.equal(await sha256At(url), file.sha256, key);
    assert.equal(new URL(url).searchParams.get("X-Amz-Expires"), "604800");
    // The URL's signature is what opens it.
    assert.equal((await fetch(url.replace(/.$/, (last) => (last === "0" ? "1" : "0")))).status, 403);
    assert.equal((await fetch(place.url)).status, 403);
  }
  const put = s3.requests.find(({ method }) => method === "PUT");
  assert.equal(put?.headers["content-length"], String(file.sizeBytes));
  assert.equal(put?.headers["x-amz-content-sha256"], file.sha256);
});

test("503, 429 and a dropped connection are tried again; what cannot succeed is not", { skip: s3Skip, timeout: 90_000 }, async () => {
  await using s3 = await startS3();
  using file = makeFile(2_000_000);
  const place = placeOf(s3.config(), "again.png");
  s3.fates.push({ status: 503, body: "<Error><Code>SlowDown</Code></Error>" }, { status: 429, headers: { "retry-after": "0" } }, { dropAfter: 500_000 });
  await upload(place, file, { signal });
  assert.equal(s3.requests.length, 4);
  assert.equal(await sha256At(await presignGet(place)), file.sha256);

  const refused = async (more: Parameters<typeof s3.config>[0], pattern: RegExp) => {
    const before = s3.requests.length;
    await assert.rejects(upload(placeOf(s3.config(more), "x.png"), file, { signal }), failure(pattern));
    assert.equal(s3.requests.length, before + 1);
  };
  await refused({ secretAccessKey: "wrong-key-of-some-length" }, /it answered 403 \(SignatureDoesNotMatch/);
  await refused({ accessKeyId: "AKIDUNKNOWN" }, /it answered 403 \(InvalidAccessKeyId/);
  await refused({ region: "eu-west-1" }, /AuthorizationHeaderMalformed/);
  await refused({ bucket: "no-such-bucket" }, /it answered 404 \(NoSuchBucket/);

  using large = makeFile(30_000_000);
  const denied = { early: 403, body: "<Error><Code>AccessDenied</Code></Error>" };
  s3.fates.push(denied, denied);
  await assert.rejects(upload(placeOf(s3.config({ tries: 1 }), "x.png"), large, { signal }), failure(/403 \(AccessDenied/));
  s3.fates.splice(0);

  s3.fates.push({ status: 500 }, { status: 502 });
  await assert.rejects(upload(placeOf(s3.config({ tries: 2 }), "x.png"), file, { signal }), failure(/it answered 502, 2 times/));
});

test("a server that is gone fails the upload after its tries, and a stop ends it at once", { skip: s3Skip, timeout: 90_000 }, async () => {
  await using s3 = await startS3();
  using file = makeFile(1000);
  await s3.stop();
  await assert.rejects(upload(placeOf(s3.config({ tries: 2 }), "x.png"), file, { signal }), failure(/, 2 times/));
  const stopped = new AbortController();
  const uploading = upload(placeOf(s3.config({ tries: 100 }), "x.png"), file, { signal: stopped.signal });
  stopped.abort();
  await assert.rejects(uploading, failure(/stopped/));
});

test("a bucket is found in the endpoint's host or path, or named after the month", () => {
  const now = new Date(2026, 10, 5);
  const url = (endpoint: string, bucket = "", style: "auto" | "path" | "virtual" = "auto") => bucketUrl({ endpoint, bucket, style }, now);
  assert.equal(url("https://acct.r2.cloudflarestorage.com"), "https://acct.r2.cloudflarestorage.com/11-26");
  assert.equal(url("https://pics.s3.us-west-2.amazonaws.com/"), "https://pics.s3.us-west-2.amazonaws.com/11-26");
  assert.equal(url("https://minio.example.com/pics/"), "https://minio.example.com/pics/11-26");
  assert.equal(url("https://pics.s3.us-west-2.amazonaws.com", "pics"), "https://pics.s3.us-west-2.amazonaws.com");
  assert.equal(url("https://minio.example.com/pics", "pics"), "https://minio.example.com/pics");
  assert.equal(url("https://s3.eu-central-1.amazonaws.com", "pics"), "https://pics.s3.eu-central-1.amazonaws.com");
  assert.equal(url("https://s3.eu-central-1.amazonaws.com", "my.pics"), "https://s3.eu-central-1.amazonaws.com/my.pics");
  assert.equal(url("http://127.0.0.1:9000", "pics", "virtual"), "http://127.0.0.1:9000/pics");
  assert.equal(url("minio.example.com:9000", "pics", "virtual"), "https://pics.minio.example.com:9000");
  assert.equal(url("http://minio:9000", "pics"), "http://minio:9000/pics");
  for (const endpoint of ["", "ftp://x", "https://key:secret@host", "https://host/?a=b", "https://"]) {
    assert.throws(
      () => url(endpoint, "pics"),
      (error) => error instanceof FettleError && error.code === "config.invalid" && !error.message.includes("secret@"),
    );
  }
});

test("the region is read from the endpoint where it tells", () => {
  const region = (endpoint: string, given = "") => regionOf({ endpoint, region: given });
  assert.equal(region("https://s3.eu-central-1.amazonaws.com"), "eu-central-1");
  assert.equal(region("https://pics.s3.dualstack.us-west-2.amazonaws.com"), "us-west-2");
  assert.equal(region("https://s3.amazonaws.com"), "us-east-1");
  assert.equal(region("https://nyc3.digitaloceanspaces.com"), "nyc3");
  assert.equal(region("https://s3.us-west-004.backblazeb2.com"), "us-west-004");
  assert.equal(region("https://acct.r2.cloudflarestorage.com"), "auto");
  assert.equal(region("http://minio:9000"), "us-east-1");
  assert.equal(region("http://minio:9000", "here"), "here");
});

test("no job's id leads out of its place in the bucket", () => {
  const image = { index: 2, mime: "image/webp" };
  assert.equal(keyFor("{date}/{job}/{index}.{ext}", "job-7", image, new Date(0)), "1970-01-01/job-7/2.webp");
  assert.match(keyFor("{job}/{random}.{ext}", "sync-1", image), /^sync-1\/[a-z]{8}\.webp$/);
  for (const id of ["../../x", "/x", "..", "a/b", "", "x".repeat(2000), "ü?#&"])
    assert.match(keyFor("out/{job}/{index}.{ext}", id, image), /^out\/[A-Za-z0-9_][A-Za-z0-9._-]{0,160}\/2\.webp$/);
  for (const template of ["{job}.{ext}", "{index}.{ext}", "/{job}/{index}", "../{job}/{index}", "a//{job}{index}", "{job}/{index}/{x}"])
    assert.throws(() => checkKeyTemplate(template), FettleError, template);
  checkKeyTemplate("{random}.{ext}");
});

test("a job's bucket cannot make the worker reach its own network", async () => {
  using file = makeFile(10);
  for (const endpoint of ["http://169.254.169.254", "http://localhost:1", "http://[::1]:1", "http://2130706433"]) {
    const bucket = bucketOfJob({ endpoint, bucket: "pics", accessKeyId: "AK", secretAccessKey: "very-secret", mayBePrivate: false });
    await assert.rejects(upload(placeOf(bucket, "x.png"), file, { signal }), failure(/not (a )?public|not public/));
  }
});
