import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { relative } from "node:path";
import { test } from "node:test";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { createAnswerReader } from "../../src/results/answer-reader.ts";
import { createFileSink } from "../../src/results/sinks/file.ts";
import { createSinks } from "../../src/results/sinks/index.ts";
import type { StorableImage } from "../../src/results/sinks/sink.ts";
import { makeAttempt, sdapiAnswer, smallPng } from "../fixtures/sdapi-answer.ts";

async function withOutput(run: (images: readonly StorableImage[], dir: string) => Promise<void>): Promise<void> {
  await using attempt = await makeAttempt();
  const reader = await createAnswerReader(attempt, { blackImages: "fail", keepImages: true });
  await reader.write(Buffer.from(sdapiAnswer([smallPng, smallPng])));
  const verdict = await reader.end();
  assert.ok(verdict.type === "good");
  const images = verdict.output.images.map(({ path = "", ...image }) => ({ ...image, path }));
  await run(images, `${attempt.dir}/out`);
}

test("each image becomes a file named by the template, once", () =>
  withOutput(async (images, dir) => {
    const sink = createFileSink({ dir, template: "{job}/{index}.{ext}" });
    const artifacts = await sink.store({ id: "job-7" }, images);
    await sink.store({ id: "job-7" }, images);
    assert.deepEqual((await readdir(`${dir}/job-7`)).sort(), ["0.png", "1.png"]);
    assert.ok((await readFile(`${dir}/job-7/1.png`)).equals(smallPng));
    assert.deepEqual(artifacts[0], {
      path: `${dir}/job-7/0.png`,
      mime: "image/png",
      sizeBytes: smallPng.length,
      sha256: createHash("sha256").update(smallPng).digest("hex"),
    });
  }));

test("no id leads out of the folder, hides a file or shares one", () =>
  withOutput(async (images, dir) => {
    const sink = createFileSink({ dir, template: "{job}-{index}.{ext}" });
    const seen = new Set<string>();
    const ids = ["../../etc/passwd", "/etc/passwd", "..", ".hidden", "", "a/b", "a_b", "a\\b", "a\u0000b", "-rf", "x".repeat(5000), "ü".repeat(300)];
    for (const id of ids) {
      for (const { path } of await sink.store({ id }, images)) {
        assert.match(relative(dir, path), /^[A-Za-z0-9_][A-Za-z0-9._-]{0,160}$/, id.slice(0, 40));
        seen.add(path);
      }
    }
    assert.equal(seen.size, ids.length * 2);
    assert.equal((await readdir(dir)).length, seen.size);
  }));

test("a template that would lose or misplace images is a configuration mistake", () => {
  for (const template of [
    "{job}.{ext}",
    "{index}.png",
    "{job}-{index}-{seed}.png",
    "../{job}-{index}.{ext}",
    "/tmp/{job}-{index}.{ext}",
    "a/../../{job}-{index}",
  ])
    assert.throws(
      () => createFileSink({ dir: "/nowhere", template }),
      (error) => error instanceof FettleError && error.code === "config.invalid",
      template,
    );
});

test("a folder that cannot be used is said, and nothing half-written stays", () =>
  withOutput(async (images, dir) => {
    await mkdir(dir);
    await writeFile(`${dir}/file`, "");
    await assert.rejects(
      createFileSink({ dir: `${dir}/file`, template: "{job}-{index}" }).store({ id: "a" }, images),
      (error) => error instanceof FettleError && error.code === "result.cannot-store",
    );
    await mkdir(`${dir}/a-0.png`);
    await assert.rejects(createFileSink({ dir, template: "{job}-{index}.{ext}" }).store({ id: "a" }, images), FettleError);
    assert.deepEqual((await readdir(dir)).sort(), ["a-0.png", "file"]);
  }));

test("the parameters lie beside each image when that is asked for, as text", () =>
  withOutput(async (images, dir) => {
    const sink = createFileSink({ dir, template: "{job}-{index}.{ext}", parameters: true });
    await sink.store({ id: "a.b" }, images, { parameters: ["a cat\nSteps: 4 – é", ""] });
    assert.deepEqual((await readdir(dir)).sort(), ["a.b-0.png", "a.b-0.txt", "a.b-1.png"]);
    assert.equal(await readFile(`${dir}/a.b-0.txt`, "utf8"), "a cat\nSteps: 4 – é\n");
  }));

test("files are written only when configured", () => {
  assert.deepEqual(createSinks({}), []);
  assert.deepEqual(
    createSinks({ files: { dir: "/x", template: "{job}-{index}.{ext}", parameters: false } }).map(({ name }) => name),
    ["file"],
  );
});
