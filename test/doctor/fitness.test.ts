import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { runpodFitness, type RunpodFitnessConfig } from "../../src/config/schema/sources.ts";
import { checkFitness } from "../../src/doctor/fitness.ts";
import { createWard, type Ward } from "./patient.ts";

const smi = (cuda: string) => `case "$1" in -L) echo 'GPU 0: NVIDIA A40 (UUID: GPU-1)';; *) echo '| Driver Version: 550.1    CUDA Version: ${cuda} |';; esac`;

function machine(ward: Ward, { gpu = true, available = 8_000_000 } = {}): void {
  ward.file("root/proc/meminfo", `MemTotal: 9000000 kB\nMemAvailable: ${available} kB\n`);
  ward.file(gpu ? "root/dev/nvidia0" : "root/dev/null", "");
}

async function look(ward: Ward, limits: Record<string, unknown> = {}) {
  const env = { PATH: `${join(ward.dir, "bin")}:/usr/bin:/bin` };
  const parsed: RunpodFitnessConfig = runpodFitness.parse({ minDiskPercent: 0, ...limits });
  return await checkFitness(parsed, { signal: AbortSignal.timeout(20_000), env, root: join(ward.dir, "root") });
}

test("A machine with enough of everything is fit; each threshold can make it unfit", { timeout: 60_000 }, async () => {
  using ward = createWard();
  machine(ward);
  ward.program("nvidia-smi", smi("12.4"));
  assert.equal(await look(ward), undefined);
  assert.deepEqual(await look(ward, { minMemoryGb: "8" }), { check: "memory", reason: "too little memory: 7.63 GiB available, 8 GiB required" });
  assert.equal((await look(ward, { minDiskPercent: 100 }))?.check, "disk");
  assert.deepEqual(await look(ward, { minCuda: "12.6" }), { check: "cuda", reason: "CUDA is too old: the driver allows CUDA 12.4, 12.6 required" });
  assert.equal(await look(ward, { minCuda: 12.4 }), undefined);
  assert.equal(await look(ward, { minMemoryGb: 100, minDiskPercent: 100, minCuda: "99", skipSystem: "TRUE" }), undefined);
});

test("The container's own limit counts, and the first trouble in the SDK's order is told", { timeout: 60_000 }, async () => {
  using ward = createWard();
  machine(ward);
  ward.program("nvidia-smi", "echo 'Failed to initialize NVML: Unknown Error'; exit 255");
  ward.file("root/sys/fs/cgroup/memory.max", "2147483648\n");
  const both = await look(ward);
  assert.deepEqual([both?.check, /Unknown Error/.test(both?.reason ?? "")], ["gpu", true]);
  assert.equal((await look(ward, { skipGpu: "true" }))?.check, "memory");
});

test("A CPU worker is fit, even with an nvidia-smi that finds nothing", { timeout: 60_000 }, async () => {
  using ward = createWard();
  machine(ward, { gpu: false });
  ward.program("nvidia-smi", "exit 9");
  assert.equal(await look(ward), undefined);
});

test("doctor shows the same looks where jobs come from RunPod, and nowhere else", { timeout: 60_000 }, async () => {
  using ward = createWard();
  machine(ward, { available: 1_000_000 });
  ward.program("nvidia-smi", smi("12.4"));
  assert.deepEqual(await ward.ask("fitness", { ownRoot: true }), []);
  const yaml = "extends: demo\nsources:\n  runpod: { takeUrl: http://127.0.0.1:1/v2/e/job-take/$ID, fitness: { minDiskPercent: 0 } }\n";
  const rows = await ward.ask("fitness", { ownRoot: true, yaml });
  assert.deepEqual(
    rows.map(({ id, state }) => `${id} ${state}`),
    ["fitness.gpu ok", "fitness.memory critical", "fitness.disk ok", "fitness.cuda ok"],
  );
});
