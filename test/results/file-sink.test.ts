import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { relative } from "node:path";
import { test } from "node:test";
import type { EngineOutput } from "../../src/engines/engine.ts";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { createAnswerReader } from "../../src/results/answer-reader.ts";
import { createFileSink } from "../../src/results/sinks/file.ts";
import { createSinks } from "../../src/results/sinks/index.ts";
import { makeAttempt, sdapiAnswer, smallPng } from "../fixtures/sdapi-answer.ts";

async function withOutput(run: (output: EngineOutput, dir: string) => Promise<void>): Promise<void> {
  await using attempt = await makeAttempt();
  const reader = await createAnswerReader(attempt, { blackImages: "fail", keepImages: true });
  await reader.write(Buffer.from(sdapiAnswer([smallPng, smallPng])));
  const verdict = await reader.end();
  assert.ok(verdict.type === "good");
  await run(verdict.output, `${attempt.dir}/out`);
}

test("each image becomes a file named by the template, once", () =>
  withOutput(async (output, dir) => {
    const sink = createFileSink({ dir, template: "{job}/{index}.{ext}" });
    const artifacts = await sink.store({ id: "job-7" }, output);
    await sink.store({ id: "job-7" }, output);
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
  withOutput(async (output, dir) => {
    const sink = createFileSink({ dir, template: "{job}-{index}.{ext}" });
    const seen = new Set<string>();
    const ids = ["../../etc/passwd", "/etc/passwd", "..", ".hidden", "", "a/b", "a_b", "a\\b", "a\u0000b", "-rf", "x".repeat(5000), "ü".repeat(300)];
    for (const id of ids) {
      for (const { path } of await sink.store({ id }, output)) {
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
  withOutput(async (output, dir) => {
    await mkdir(dir);
    await writeFile(`${dir}/file`, "");
    await assert.rejects(
      createFileSink({ dir: `${dir}/file`, template: "{job}-{index}" }).store({ id: "a" }, output),
      (error) => error instanceof FettleError && error.code === "result.cannot-store",
    );
    await mkdir(`${dir}/a-0.png`);
    await assert.rejects(createFileSink({ dir, template: "{job}-{index}.{ext}" }).store({ id: "a" }, output), FettleError);
    assert.deepEqual((await readdir(dir)).sort(), ["a-0.png", "file"]);
  }));

test("inline is always there, files only when configured", () => {
  assert.deepEqual(
    createSinks({}).map(({ name }) => name),
    ["inline"],
  );
  assert.deepEqual(
    createSinks({ files: { dir: "/x", template: "{job}-{index}.{ext}" } }).map(({ name }) => name),
    ["inline", "file"],
  );
});
