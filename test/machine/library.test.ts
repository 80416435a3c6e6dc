import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { findGpus } from "../../src/machine/gpus.ts";
import { whyNotPreload } from "../../src/machine/library.ts";

test("a library is judged by its ELF header", () => {
  const dir = mkdtempSync(join(tmpdir(), "fettle-elf-"));
  const elf = (machine: number, wordSize: number) =>
    Buffer.from([0x7f, 0x45, 0x4c, 0x46, wordSize, 1, 1, ...Array<number>(11).fill(0), machine & 255, machine >> 8]);
  const judge = (content: Buffer, arch: string) => {
    writeFileSync(join(dir, "x.so"), content);
    return whyNotPreload(join(dir, "x.so"), arch);
  };
  assert.equal(judge(elf(62, 2), "x64"), undefined);
  assert.equal(judge(elf(183, 2), "arm64"), undefined);
  assert.match(judge(elf(183, 2), "x64") ?? "", /another architecture/);
  assert.match(judge(elf(62, 1), "x64") ?? "", /another architecture/);
  assert.match(judge(Buffer.from("#!/bin/sh"), "x64") ?? "", /not a library/);
  assert.match(whyNotPreload(join(dir, "none.so")) ?? "", /cannot be read/);
  rmSync(dir, { recursive: true });
});

test("GPUs are counted by what CUDA_VISIBLE_DEVICES allows, else by their device files", async () => {
  assert.deepEqual(await findGpus({ env: { CUDA_VISIBLE_DEVICES: "2, GPU-4f2e,-1,3" } }), ["2", "GPU-4f2e"]);
  assert.deepEqual(await findGpus({ env: { CUDA_VISIBLE_DEVICES: "" } }), []);
  const devDir = mkdtempSync(join(tmpdir(), "fettle-dev-"));
  for (const name of ["nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"]) mkdirSync(join(devDir, name));
  assert.deepEqual(await findGpus({ env: {}, devDir }), ["0", "1"]);
  rmSync(devDir, { recursive: true });
});
