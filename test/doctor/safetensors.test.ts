import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { test } from "node:test";
import { inspectWeights } from "../../src/doctor/safetensors.ts";
import { createWard } from "./patient.ts";

function safetensors(header: object | string, bodyBytes: number): Buffer {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(bodyBytes)]);
}

const tensor = (start: number, end: number) => ({ dtype: "F32", shape: [(end - start) / 4], data_offsets: [start, end] });
const two = { __metadata__: { format: "pt" }, b: tensor(8, 16), a: tensor(0, 8) };

test("a whole safetensors file is sane; the traces of a failed download are named", async () => {
  using ward = createWard();
  const look = async (name: string, content: Buffer | string) => {
    const answer = await inspectWeights(ward.file(name, content));
    return answer.type === "broken" ? answer.reason : answer.type;
  };
  const whole = safetensors(two, 16);
  assert.equal(await look("m.safetensors", whole), "sane");
  assert.equal(await look("m.safetensors", whole.subarray(0, -1)), `it is cut off: ${whole.length - 1} of ${whole.length} bytes`);
  assert.match(await look("m.safetensors", whole.subarray(0, 20)), /cut off within its header/);
  assert.match(await look("m.safetensors", Buffer.concat([whole, Buffer.alloc(3)])), /longer than its header says/);
  assert.match(await look("m.safetensors", safetensors({ a: tensor(0, 8), b: tensor(4, 12) }, 12)), /overlap or leave gaps/);
  assert.match(await look("m.safetensors", safetensors({ a: { dtype: "F32" } }, 0)), /without a place/);
  assert.match(await look("m.safetensors", safetensors("{ not json", 0)), /no JSON/);
  assert.match(await look("m.safetensors", safetensors('{"a":null}', 0)), /without a place/);
  assert.match(await look("m.safetensors", safetensors("x".repeat(64), 0)), /no safetensors file/);
  assert.match(await look("m.safetensors", "<!DOCTYPE html><title>Log in</title>"), /web page/);
  assert.match(await look("m.safetensors", '{"error":"Unauthorized"}'), /JSON/);
  assert.match(await look("m.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), /git-lfs pointer/);
  assert.equal(await look("m.safetensors", ""), "it is empty");
  assert.equal(await look("m.ckpt", "PK\u0003\u0004 and so on"), "sane");
  assert.match(await look("m.ckpt", "Too many requests"), /no PyTorch file/);
});

test("what is missing or no file is said so", async () => {
  using ward = createWard();
  mkdirSync(`${ward.dir}/m.safetensors`);
  assert.deepEqual(await inspectWeights(`${ward.dir}/m.safetensors`), { type: "broken", reason: "it is no file" });
  assert.deepEqual(await inspectWeights(`${ward.dir}/none/m.safetensors`), { type: "missing" });
});
