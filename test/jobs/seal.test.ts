import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type Beside, seal } from "../../src/jobs/seal.ts";

async function sealed(answer: string | undefined, beside: Beside & { error?: string } = {}): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), "fettle-seal-"));
  const path = join(dir, "answer.json");
  if (answer !== undefined) writeFileSync(path, answer);
  const output = answer === undefined ? {} : { output: { path, mime: "application/json", sizeBytes: Buffer.byteLength(answer), sha256: "" } };
  const { sizeBytes } = await seal(join(dir, "body.json"), { ...output, ...beside });
  const body = readFileSync(join(dir, "body.json"), "utf8");
  rmSync(dir, { recursive: true });
  assert.equal(Buffer.byteLength(body), sizeBytes);
  JSON.parse(body);
  return body;
}

const meta = '{"attempts":[]}';

test("The output goes through byte by byte; meta stands beside it, or within it for RunPod", async () => {
  const answer = '{ "images": ["ü"],\n "info": 1 }';
  assert.equal(await sealed(answer), `{"output":${answer}}`);
  assert.equal(await sealed(answer, { meta }), `{"output":${answer},"meta":${meta}}`);
  assert.equal(await sealed(answer, { meta, metaInside: true, stopPod: true }), `{"output":{"meta":${meta},${answer.slice(1)},"stopPod":true}`);
  assert.equal(await sealed(" {\n}", { meta, metaInside: true }), `{"output":{"meta":${meta}\n}}`);
});

test("What is no object cannot hold meta", async () => {
  for (const answer of ["[1]", '"{"', "3", "null"]) assert.equal(await sealed(answer, { meta, metaInside: true }), `{"output":${answer},"meta":${meta}}`);
});

test("An error may have an output and meta beside it, and stays a string", async () => {
  assert.equal(await sealed('{"part":1}', { error: 'a "b"' }), '{"error":"a \\"b\\"","output":{"part":1}}');
  assert.equal(await sealed(undefined, { error: "x", meta, metaInside: true }), `{"error":"x","meta":${meta}}`);
});

test("A large answer is copied whole, with meta at its head", async () => {
  const answer = JSON.stringify({ images: ["x".repeat(3_000_000)] });
  assert.equal(await sealed(answer, { meta, metaInside: true }), `{"output":{"meta":${meta},${answer.slice(1)}}`);
});
