import assert from "node:assert/strict";
import { test } from "node:test";
import { s3Keys, s3Skip, startS3 } from "../doubles/s3-server.ts";
import { makePng } from "../fixtures/png.ts";
import { smallPng } from "../fixtures/sdapi-answer.ts";
import { finish, formatOf } from "./finish-rig.ts";

const python = process.env["FETTLE_TEST_PYTHON"];
const second = makePng({ width: 9, height: 9, fill: (at) => at % 251 });
const base64 = (bytes: Buffer) => bytes.toString("base64");
const video = Buffer.from("not really a video");
const shape = { shape: "worker-comfyui" } as const;

/** As engines/comfyui/answer.ts writes it. */
const answer = (more: object = {}) =>
  JSON.stringify({
    images: [base64(smallPng), base64(second)],
    outputs: [
      { node: "9", filename: "ComfyUI_00001_.png", subfolder: "sub" },
      { node: "9", filename: "ComfyUI_00002_.png" },
    ],
    ...more,
  });
const withVideo = {
  files: [{ node: "12", filename: "clip_00001.mp4", mime: "video/mp4", sizeBytes: video.length }],
  contents: [base64(video)],
};

test("worker-comfyui's callers get its published shape, key for key", async () => {
  const done = await finish({ answer: answer(), options: shape });
  assert.equal(
    done.text,
    JSON.stringify({
      images: [
        { filename: "ComfyUI_00001_.png", type: "base64", data: base64(smallPng) },
        { filename: "ComfyUI_00002_.png", type: "base64", data: base64(second) },
      ],
    }),
  );
  const warned = await finish({ answer: answer({ errors: ["x.png of node 3: /view answered 404"] }), options: shape });
  assert.deepEqual(Object.keys(warned.value), ["images", "errors"]);
});

test("nothing produced is told in that worker's words", async () => {
  const done = await finish({ answer: '{"images":[],"outputs":[]}', options: shape, mayBeEmpty: true });
  assert.equal(done.text, '{"status":"success_no_images","images":[]}');
});

test("what is no image stands in files, and texts beside it", async () => {
  const texts = [{ node: "3", text: "a cat" }];
  const done = await finish({ answer: answer({ ...withVideo, texts }), options: shape });
  const { files, texts: said } = done.value as unknown as { files: unknown; texts: unknown };
  assert.deepEqual(files, [{ filename: "clip_00001.mp4", type: "base64", data: base64(video) }]);
  assert.deepEqual(said, texts);
  const alone = await finish({ answer: JSON.stringify({ images: [], outputs: [], ...withVideo }), options: shape, mayBeEmpty: true });
  assert.deepEqual(Object.keys(JSON.parse(alone.text) as object), ["images", "files"]);
});

test("another format changes the names' endings too", { skip: python ? false : "FETTLE_TEST_PYTHON names no Python with Pillow" }, async () => {
  const done = await finish({ answer: answer(), options: { ...shape, format: "webp" } });
  const images = done.value.images as unknown as { filename: string; data: string }[];
  assert.deepEqual(
    images.map(({ filename, data }) => [filename, formatOf(data)]),
    [
      ["ComfyUI_00001_.webp", "webp"],
      ["ComfyUI_00002_.webp", "webp"],
    ],
  );
});

test("a bucket gets images and files; without that shape the answer keeps its form", { skip: s3Skip, timeout: 120_000 }, async () => {
  await using s3 = await startS3();
  const place = {
    sessionToken: "",
    region: "us-east-1",
    style: "auto",
    key: "{job}/{index}.{ext}",
    publicUrl: "https://cdn.test",
    expires: 60_000,
    tries: 3,
  } as const;
  const results = { s3: { ...place, ...s3Keys, when: "always", endpoint: s3.endpoint, bucket: s3.bucket } as const };
  const done = await finish({ answer: answer(withVideo), options: shape, results });
  assert.deepEqual(JSON.parse(done.text), {
    images: [
      { filename: "ComfyUI_00001_.png", type: "s3_url", data: "https://cdn.test/job-1/0.png" },
      { filename: "ComfyUI_00002_.png", type: "s3_url", data: "https://cdn.test/job-1/1.png" },
    ],
    files: [{ filename: "clip_00001.mp4", type: "s3_url", data: "https://cdn.test/job-1/2.mp4" }],
  });
  const plain = await finish({ answer: answer({ ...withVideo, parameters: { seed: 3 } }), results });
  const value = JSON.parse(plain.text) as Record<string, unknown>;
  assert.deepEqual(value["contents"], ["https://cdn.test/job-1/2.mp4"]);
  assert.deepEqual([value["files"], value["parameters"]], [withVideo.files, { seed: 3 }]);
  const alone = await finish({ answer: JSON.stringify({ images: [], outputs: [], ...withVideo }), results, mayBeEmpty: true });
  assert.deepEqual((JSON.parse(alone.text) as Record<string, unknown>)["contents"], ["https://cdn.test/job-1/0.mp4"]);
});
