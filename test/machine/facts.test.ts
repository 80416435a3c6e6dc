import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:net";
import { after, test } from "node:test";
import { readCgroupLimits } from "../../src/machine/cgroup.ts";
import { readFacts } from "../../src/machine/facts.ts";
import { outputOf } from "../../src/machine/run-program.ts";

const root = mkdtempSync(join(tmpdir(), "fettle-machine-"));
after(() => rmSync(root, { recursive: true }));

function cgroup(name: string, files: Record<string, string>): string {
  const dir = join(root, name);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(join(dir, file, ".."), { recursive: true });
    writeFileSync(join(dir, file), text);
  }
  return dir;
}

test("cgroup v2 limits count when they are below the machine", () => {
  const dir = cgroup("v2", { "cpu.max": "250000 100000\n", "memory.max": "8589934592\n" });
  assert.deepEqual(readCgroupLimits({ root: dir, machineCpus: 64 }), { cpus: 3, memoryBytes: 8_589_934_592 });
  assert.deepEqual(readCgroupLimits({ root: dir, machineCpus: 2 }), { memoryBytes: 8_589_934_592 });
});

test("cgroup v1 limits are read too", () => {
  const files = { "cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n", "memory/memory.limit_in_bytes": "1073741824\n" };
  assert.deepEqual(readCgroupLimits({ root: cgroup("v1", files), machineCpus: 8 }), { cpus: 1, memoryBytes: 1_073_741_824 });
});

test("no limit is no number", () => {
  assert.deepEqual(readCgroupLimits({ root: cgroup("max", { "cpu.max": "max 100000\n", "memory.max": "max\n" }), machineCpus: 8 }), {});
  const files = { "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n", "memory/memory.limit_in_bytes": "9223372036854771712\n" };
  assert.deepEqual(readCgroupLimits({ root: cgroup("v1-max", files), machineCpus: 8 }), {});
  assert.deepEqual(readCgroupLimits({ root: join(root, "none"), machineCpus: 8 }), {});
});

test("the facts hold which paths exist, and ports that can be listened on", async () => {
  const facts = await readFacts({ tcmalloc: false, paths: [root, join(root, "missing")], freePorts: 2 }, { env: { LD_PRELOAD: "/lib/a.so" } });
  assert.deepEqual([...facts.existing], [root]);
  assert.equal(facts.preload, "/lib/a.so");
  assert.equal(new Set(facts.freePorts).size, 2);
  for (const port of facts.freePorts) {
    const server = createServer();
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
    server.close();
  }
});

test("a program that is missing, fails or takes too long has no output", async () => {
  assert.equal(await outputOf(["/no/such/program"]), undefined);
  assert.equal(await outputOf(["/bin/sh", "-c", "echo seen; exit 1"]), undefined);
  assert.equal(await outputOf(["/bin/sleep", "60"], { timeoutMs: 20 }), undefined);
  assert.equal(await outputOf(["/bin/echo", "seen"]), "seen\n");
});
