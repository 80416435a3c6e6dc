import assert from "node:assert/strict";
import { test } from "node:test";
import { createPreparer } from "../../../src/jobs/prepare/create-prepare.ts";
import { isInvalid } from "../../../src/jobs/prepare/invalid.ts";
import { readJobBucket } from "../../../src/jobs/prepare/job-bucket.ts";
import { faultOf, jobOf, prepare, requestOf, usualRules } from "./rules.ts";

const whole = { accessId: "AK", accessSecret: "very-secret", bucketName: "pics", endpointUrl: "https://198.51.100.7" };
const none = { accessId: "", accessSecret: "", bucketName: "", endpointUrl: "" };

test("a job's own bucket is whole or refused by the field's name, before an engine works for it, and never shown", async () => {
  const bad: [unknown, string][] = [
    ["text", "s3Config.accessId"],
    [{ ...whole, accessSecret: 5 }, "s3Config.accessSecret"],
    [{ ...whole, bucketName: "../etc" }, "s3Config.bucketName"],
    [{ ...whole, accessId: "a\nb" }, "s3Config.accessId"],
    [{ ...whole, endpointUrl: "https://u:very-secret@host" }, "s3Config.endpointUrl"],
    [{ ...whole, endpointUrl: "file:///etc/passwd" }, "s3Config.endpointUrl"],
  ];
  const { check, fetches } = createPreparer(usualRules, ["a1111"]);
  for (const [s3Config, path] of bad) {
    const message = await faultOf({ prompt: "x" }, { extra: { s3Config } });
    assert.ok(message.startsWith(`${path}: `) && !message.includes("very-secret"), message);
    assert.equal(check(jobOf({ prompt: "x" }, { s3Config }))?.path, path);
  }
  for (const endpointUrl of ["http://127.0.0.1:9000", "localhost:9000", "http://[::1]", "169.254.169.254"]) {
    const s3Config = { ...whole, endpointUrl };
    assert.match(await faultOf({ prompt: "x" }, { extra: { s3Config } }), /^s3Config\.endpointUrl: .*not.* public/);
    const { options } = await prepare({ prompt: "x" }, { extra: { s3Config }, jobBuckets: "any" });
    assert.equal(options?.bucket?.endpoint, endpointUrl);
  }
  assert.match(await faultOf({ prompt: "x" }, { extra: { s3Config: whole }, jobBuckets: "off" }), /^s3Config: jobs may not bring a bucket/);
  assert.equal(fetches(jobOf({ prompt: "x" }, { s3Config: whole })), true);
});

test("forms that nobody filled in name no bucket, and a handler of the user's own reads s3Config by itself", async () => {
  for (const s3Config of [undefined, null, none]) assert.deepEqual(readJobBucket({ s3Config }, "off"), {});
  const read = readJobBucket({ s3Config: whole }, "public");
  assert.ok(!isInvalid(read));
  assert.deepEqual([read.bucket?.bucket, read.bucket?.secretAccessKey, read.bucket?.mayBePrivate], ["pics", "very-secret", false]);
  const extra = { s3Config: { accessId: 5 } };
  assert.equal((await requestOf("any", { kind: "python", extra, jobBuckets: "off" })).type, "request");
});

test("an input that is no object is a handler's matter, and no job for anything else", async () => {
  for (const input of ["text", 7, null, [1], true]) {
    assert.deepEqual((await requestOf(input, { kind: "python" })).input, input);
    assert.match(await faultOf(input), /^input: expected an object, not /);
    assert.equal(createPreparer(usualRules, ["comfyui"]).check(jobOf(input))?.path, "input");
    assert.deepEqual((await requestOf(input, { kind: "python", kinds: ["a1111", "python"] })).input, input);
  }
});
