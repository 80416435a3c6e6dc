import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { openJobFile } from "../../src/generate/job-file.ts";
import { hasManyLines, readJobList } from "../../src/generate/job-list.ts";

const dir = mkdtempSync(join(tmpdir(), "fettle-job-list-"));
after(() => rmSync(dir, { recursive: true, force: true }));
const limits = { maxDepth: 8, maxInput: 100_000 };
let count = 0;

async function open(text: string | Uint8Array) {
  const path = join(dir, `${++count}.jsonl`);
  writeFileSync(path, text);
  return { path, file: await openJobFile(path, { spoolDir: dir, signal: new AbortController().signal }) };
}
const list = async (text: string | Uint8Array, overrides = {}, salt = "") => readJobList((await open(text)).file, { limits, overrides, salt: () => salt });

test("bare jobs, envelopes, ids, blank lines, CRLF and a byte order mark", async () => {
  const jobs = await list('\u{feff}{"prompt":"a"}\r\n\n{"id":"b","input":{"prompt":"b"},"webhook":"w"}\n \t\n{"id":"c","prompt":"c"}', { steps: 5 });
  assert.deepEqual(
    jobs.map((job) => job.read()),
    [
      { id: undefined, input: { prompt: "a", steps: 5 }, extra: {} },
      { id: "b", input: { prompt: "b", steps: 5 }, extra: { webhook: "w" } },
      { id: "c", input: { prompt: "c", steps: 5 }, extra: {} },
    ],
  );
  assert.deepEqual(
    jobs.map(({ n }) => n),
    [1, 2, 3],
  );
});

test("a job keeps its key wherever it stands, and loses it with its content; equal lines are different jobs", async () => {
  const [a, b, twin] = await list('{"prompt":"a"}\n{"prompt":"b"}\n{"prompt":"a"}\n');
  const moved = await list('{"prompt":"b"}\n{"prompt":"a"}\n');
  assert.deepEqual([moved[1]?.key, moved[0]?.key], [a?.key, b?.key]);
  assert.notEqual(twin?.key, a?.key);
  assert.notEqual((await list('{"prompt":"a"}', { steps: 9 }))[0]?.key, a?.key);
  assert.notEqual((await list('{"prompt":"a"}', {}, "other"))[0]?.key, a?.key);
});

test("every bad line is named with file, line and column", async () => {
  const { path, file } = await open('{"prompt":"a"}\n{"prompt": "é", oops}\n[1]\n{"id":"x","prompt":1}\n{"id":"x"}\n{"input":3}\n{"a":\n');
  assert.throws(
    () => readJobList(file, { limits, overrides: {}, salt: () => "" }),
    (error) => {
      assert.ok(error instanceof FettleError);
      const all = [error, ...error.others];
      assert.deepEqual(
        all.map(({ where }) => [where?.file, where?.line, where?.column]),
        [
          [path, 2, 17],
          [path, 3, 1],
          [path, 5, 1],
          [path, 6, 1],
          [path, 7, 6],
        ],
      );
      assert.match(all[2]?.message ?? "", /the id "x" is that of line 4/);
      return true;
    },
  );
});

for (const [what, text] of [
  ["nothing", ""],
  ["only blank lines", "\n \n"],
  ["no UTF-8", new Uint8Array([0x7b, 0xff, 0x7d])],
  ["too deep a job", `{"a":${"[".repeat(20)}${"]".repeat(20)}}`],
  ["too large a job", `{"a":"${"x".repeat(200_000)}"}`],
  ["an id that fits no header", '{"id":"a\\u0000b","input":{}}'],
] as const) {
  test(`${what} is refused`, async () => {
    await assert.rejects(list(text), FettleError);
  });
}

test("lines longer than a chunk and a last line without its end are whole", async () => {
  const big = { maxDepth: 8, maxInput: 10_000_000 };
  const { file } = await open(`{"a":"${"x".repeat(3_000_000)}"}\n{"b":1}`);
  const jobs = readJobList(file, { limits: big, overrides: {}, salt: () => "" });
  assert.equal(String(jobs[0]?.read().input["a"]).length, 3_000_000);
  assert.deepEqual(jobs[1]?.read().input, { b: 1 });
});

test("a file that is changed under a run is noticed", async () => {
  const { path, file } = await open('{"a":1}\n{"b":1}\n');
  const jobs = readJobList(file, { limits, overrides: {}, salt: () => "" });
  writeFileSync(path, '{"a":1}\n{"b":2}\n');
  assert.deepEqual(jobs[0]?.read().input, { a: 1 });
  assert.throws(() => jobs[1]?.read(), /changed while/);
});

for (const [text, many] of [
  ['{"a":1}\n{"b":1}\n', true],
  ['{"a":1}\n\n', false],
  ['{\n"a":1\n}\n', false],
  ["[\n1]\n", false],
] as const) {
  test(`${JSON.stringify(text)} is ${many ? "many jobs" : "one job"}`, async () => assert.equal(hasManyLines((await open(text)).file), many));
}
