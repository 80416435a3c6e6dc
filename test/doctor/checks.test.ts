import assert from "node:assert/strict";
import { mkdirSync, rmSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Diagnosis } from "../../src/doctor/run-checks.ts";
import { createWard } from "./patient.ts";

const row = (rows: readonly Diagnosis[], id: string): Diagnosis => {
  const found = rows.find((one) => one.id === id);
  assert.ok(found, `${id} is not in ${rows.map((one) => one.id).join(", ")}`);
  return found;
};
const states = (rows: readonly Diagnosis[]) => rows.map(({ id, state }) => `${id} ${state}`);
const a1111 = "extends: a1111-runpod\n";
const smi = (cuda: string) => `[ "$1" = -L ] && echo "GPU 0: NVIDIA A40 (UUID: GPU-1)" && exit
echo "| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: ${cuda} |"`;
const answering = (more: object) =>
  `/bin/cat <<'END'\n${JSON.stringify({ executable: "/py", version: [3, 11, 2], prefix: "/", isVenv: true, isExternallyManaged: false, packages: { torch: "2.4.0" }, xformersWants: null, ...more })}\nEND`;

test("no GPU is a warning, unless an engine cannot run without one", async () => {
  using ward = createWard();
  const cpu = await ward.ask("gpu", { ownRoot: true });
  assert.deepEqual(states(cpu), ["gpu.devices warning", "gpu.driver not-checked", "gpu.torch not-checked"]);
  assert.equal(row(cpu, "gpu.driver").message, "skipped: blocked by gpu.devices");
  const demanding = await ward.ask("gpu.devices", { ownRoot: true, yaml: a1111 });
  assert.match(`${demanding[0]?.state} ${demanding[0]?.message}`, /^critical no GPU: webui cannot run without one/);
  const tolerant = await ward.ask("gpu.devices", { ownRoot: true, yaml: `${a1111}engines: { webui: { extraArgs: [--use-cpu, all] } }\n` });
  assert.equal(tolerant[0]?.state, "warning");
});

test("the driver is asked, its errors are told apart, and a hidden GPU is seen", async () => {
  using ward = createWard();
  ward.file("root/dev/nvidia0", "");
  assert.match(row(await ward.ask("gpu", { ownRoot: true, env: { CUDA_VISIBLE_DEVICES: "-1" } }), "gpu.devices").message, /hidden by CUDA_VISIBLE_DEVICES/);
  assert.equal(row(await ward.ask("gpu.driver", { ownRoot: true }), "gpu.driver").state, "warning");
  ward.program("nvidia-smi", "echo 'Failed to initialize NVML: Unknown Error'; exit 255");
  const lost = row(await ward.ask("gpu.driver", { ownRoot: true }), "gpu.driver");
  assert.deepEqual([lost.state, lost.fix], ["critical", "Create the container anew: it has lost its rights to the device."]);
  ward.program("nvidia-smi", smi("12.4"));
  assert.equal(row(await ward.ask("gpu.driver", { ownRoot: true }), "gpu.driver").message, "1 × NVIDIA A40");
});

test("torch must not want more CUDA than the driver has, and must not be a CPU build", async () => {
  using ward = createWard();
  ward.file("root/dev/nvidia0", "");
  ward.program("nvidia-smi", smi("12.4"));
  const verdict = async (torchCuda: object) => {
    ward.program("python", answering(torchCuda));
    const found = row(await ward.ask("gpu.torch", { ownRoot: true, yaml: a1111 }), "gpu.torch:webui");
    return `${found.state} ${found.message} ${found.fix ?? ""}`;
  };
  assert.match(await verdict({ torchCuda: "11.8" }), /^ok torch 2\.4\.0 for CUDA 11\.8; driver 550\.54\.15, CUDA ≤ 12\.4/);
  assert.match(await verdict({ torchCuda: "12.8" }), /^warning .*--torch-backend cu124$/);
  assert.match(await verdict({ torchCuda: "13.0" }), /^critical .*wants CUDA 13\.0/);
  assert.match(await verdict({ torchCuda: null }), /^critical .*without CUDA/);
  assert.match(await verdict({}), /^not-checked no torch in \/py/);
});

test("Python is found, old enough to be refused, or missing beside python3", async () => {
  using ward = createWard();
  const verdict = async () => {
    const found = row(await ward.ask("python.found", { yaml: a1111, env: { PATH: join(ward.dir, "bin") } }), "python.found:webui");
    return `${found.state} ${found.message} ${found.fix ?? ""}`;
  };
  ward.program("python", answering({ version: [3, 8, 10] }));
  assert.match(await verdict(), /^critical \/py is Python 3\.8\.10; the engine needs 3\.10/);
  ward.program("python", "echo 'a start-up file speaks'\n" + answering({}));
  assert.match(await verdict(), /^ok \/py, 3\.11\.2/);
  ward.program("python", "echo hello");
  assert.match(await verdict(), /^not-checked/);
  rmSync(join(ward.dir, "bin/python"));
  assert.match(await verdict(), /^critical there is no program python apt-get install -y python3 python3-venv, or set engines\.webui\.python$/);
  ward.program("python3", answering({}));
  assert.match(await verdict(), /^critical there is no program python, only python3 apt-get install -y python-is-python3$/);
});

test("packages that the engine needs are named when they lack, with the command that brings them", async () => {
  using ward = createWard();
  ward.program("python3", answering({ packages: { torch: "2.13.0", numpy: "2.4.6" } }));
  const lacking = row(await ward.ask("python.packages"), "python.packages:diffusers");
  assert.equal(lacking.state, "critical");
  assert.match(lacking.message, /^\/py lacks diffusers, transformers, .*pillow$/);
  assert.match(lacking.fix ?? "", /^\/py -m pip install diffusers==\S+ transformers==/);
  assert.doesNotMatch(lacking.fix ?? "", /torch|accelerate/);
  ward.file("webui/requirements_versions.txt", "# pins\nGitPython==3.1.32\nPillow==9.5.0\ngit+https://example.invalid/x\n");
  const yaml = `${a1111}engines: { webui: { directory: ./webui } }\n`;
  ward.program("python", answering({ packages: { torch: "2.1.2", pillow: "9.5.0", xformers: "0.0.22" }, xformersWants: "2.0.1" }));
  const rows = await ward.ask("python", { yaml });
  assert.equal(row(rows, "python.packages:webui").message, "/py lacks gitpython");
  assert.match(row(rows, "python.xformers:webui").message, /built for torch 2\.0\.1, installed is 2\.1\.2/);
});

test("tcmalloc: found for this architecture, only for another, or not to be asked", async () => {
  using ward = createWard();
  const verdict = async () => {
    const found = row(await ward.ask("memory.tcmalloc", { yaml: a1111 }), "memory.tcmalloc");
    return `${found.state} ${found.message} ${found.fix ?? ""}`;
  };
  const word = process.arch === "x64" ? "x86-64" : "AArch64";
  ward.program("ldconfig", `echo "	libtcmalloc_minimal.so.4 (libc6,${word}) => /usr/lib/libtcmalloc_minimal.so.4"`);
  assert.match(await verdict(), /^ok \/usr\/lib\/libtcmalloc_minimal\.so\.4/);
  ward.program("ldconfig", 'echo "	libtcmalloc.so.4 (libc6,PPC64) => /usr/lib/libtcmalloc.so.4"');
  assert.match(await verdict(), /^warning installed only for another architecture \(libc6,PPC64\).*apt-get install -y libtcmalloc-minimal4$/);
  ward.program("ldconfig", "exit 1");
  assert.match(await verdict(), /^not-checked ldconfig -p ended with 1/);
  assert.equal((await ward.ask("memory.tcmalloc"))[0]?.state, "not-checked");
});

test("LD_PRELOAD: a missing file, no library, and a good one are told apart", async () => {
  using ward = createWard();
  const verdict = async (value: string) => {
    const [found] = await ward.ask("memory.preload", { env: { LD_PRELOAD: value } });
    return `${found?.state} ${found?.message}`;
  };
  assert.match(await verdict("/no/such.so"), /^warning \/no\/such\.so does not exist/);
  assert.match(await verdict(ward.file("text.so", "not a library")), /is no library/);
  assert.match(await verdict(process.execPath), /^ok /);
});

test("limits of the cgroup are set beside what programs see", async () => {
  using ward = createWard();
  ward.file("root/sys/fs/cgroup/cpu.max", "100000 100000\n");
  ward.file("root/sys/fs/cgroup/memory.max", "2000000000\n");
  ward.file("root/sys/fs/cgroup/memory.events", "oom 1\noom_kill 2\n");
  ward.file("root/sys/fs/cgroup/pids.max", "300\n");
  ward.file("root/sys/fs/cgroup/pids.current", "100\n");
  ward.file("root/proc/meminfo", "MemTotal:       65536000 kB\n");
  ward.file("root/proc/self/limits", "Max open files            1024                 524288               files     \n");
  const rows = [...(await ward.ask("limits", { ownRoot: true })), ...(await ward.ask("memory.limit", { ownRoot: true }))];
  assert.match(row(rows, "memory.limit").message, /^limited to 2\.0 GB of the machine's 67\.1 GB; the kernel has killed 2 /);
  assert.equal(row(rows, "limits.pids").message, "100 of 300 used (threads count too): an engine alone starts hundreds");
  assert.match(row(rows, "limits.files").message, /^1024 at once/);
  const greedy = await ward.ask("limits.cpu", { ownRoot: true, yaml: "extends: demo\nengines: { diffusers: { env: { OMP_NUM_THREADS: 5000 } } }\n" });
  assert.match(greedy[0]?.fix ?? "", /engines\.diffusers\.env\.OMP_NUM_THREADS=/);
});

test("zombies that PID 1 leaves are counted", async () => {
  using ward = createWard();
  const stat = (pid: number, name: string, state: string, parent: number) =>
    ward.file(`root/proc/${pid}/stat`, `${pid} (${name}) ${state} ${parent} ${"0 ".repeat(17)}77 0\n`);
  ward.file("root/proc/1/comm", "python3\n");
  stat(1, "python3", "S", 0);
  stat(40, "a) Z 1 (b", "S", 1);
  assert.match((await ward.ask("process.init", { ownRoot: true }))[0]?.message ?? "", /^python3; no orphans/);
  stat(41, "sh", "Z", 1);
  stat(42, "sh", "Z", 40);
  const [found] = await ward.ask("process.init", { ownRoot: true });
  assert.deepEqual([found?.state, found?.message], ["warning", "python3 leaves 1 dead process unreaped; they use up the limit of processes"]);
});

test("a configuration file from the future makes the clock suspect", async () => {
  using ward = createWard();
  assert.equal((await ward.ask("process.clock"))[0]?.state, "ok");
  const later = new Date(Date.now() + 30 * 86_400_000);
  mkdirSync(join(ward.dir, "engine"));
  const future = ward.file("engine/x.yaml", "");
  utimesSync(future, later, later);
  const { loadConfig } = await import("../../src/config/load.ts");
  const { processChecks } = await import("../../src/doctor/checks/process.ts");
  const { createPatient } = await import("../../src/doctor/patient.ts");
  const { signal } = new AbortController();
  const loaded = { ...loadConfig({ profile: "demo", env: {}, cwd: ward.dir }), files: [future] };
  const patient = createPatient({ env: {}, cwd: ward.dir, config: { type: "loaded", loaded }, signal });
  const clock = await processChecks.find(({ id }) => id === "process.clock")?.check(patient, { signal });
  assert.equal((clock as { state: string }).state, "warning");
});

test("what listens for others without a key is critical; RunPod's variables must be whole", async () => {
  using ward = createWard();
  const open = async (env: Record<string, string>, yaml?: string) => states(await ward.ask("secrets.open", { env, ...(yaml !== undefined && { yaml }) }));
  assert.deepEqual(await open({}), ["secrets.open ok"]);
  const said = "extends: demo\nsources: { http: { allowUnauthenticated: true } }\n";
  assert.deepEqual(await open({ FETTLE_HTTP_LISTEN: "0.0.0.0" }, said), ["secrets.open:job API warning"]);
  assert.deepEqual(await open({ FETTLE_HTTP_LISTEN: "0.0.0.0", FETTLE_API_KEY: "secret-key" }), ["secrets.open:job API ok"]);
  assert.deepEqual(await open({}, `${a1111}engines: { webui: { extraArgs: [--listen] } }\n`), ["secrets.open:webui critical"]);
  const runpod = async (env: Record<string, string>) => (await ward.ask("secrets.runpod", { env, yaml: a1111 }))[0];
  assert.equal((await runpod({}))?.state, "not-checked");
  assert.match((await runpod({ RUNPOD_ENDPOINT_ID: "e" }))?.message ?? "", /^RUNPOD_WEBHOOK_GET_JOB has no value/);
  const take = { RUNPOD_WEBHOOK_GET_JOB: "http://127.0.0.1/take", RUNPOD_WEBHOOK_POST_OUTPUT: "http://127.0.0.1/done" };
  assert.equal((await runpod({ ...take, RUNPOD_WEBHOOK_POST_OUTPUT: "" }))?.state, "critical");
  assert.match((await runpod(take))?.message ?? "", /^RUNPOD_AI_API_KEY, RUNPOD_WEBHOOK_PING, RUNPOD_POD_ID have no value/);
});
