import { readFile, statfs } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import type { RunpodFitnessConfig } from "../config/schema/sources.ts";
import { readCgroupLimits } from "../machine/cgroup.ts";
import { critical, type Finding, notChecked, ok } from "./check.ts";
import { allowedCuda, deviceFiles, driver } from "./checks/gpu.ts";
import type { Patient } from "./patient.ts";
import { runProgram, troubleOf } from "./program.ts";

/** As much of a patient as these looks need; the worker has no configuration to show. */
export type Machine = Pick<Patient, "at" | "read" | "run">;

type Limits = RunpodFitnessConfig;

export interface FitnessLook {
  readonly check: "memory" | "disk" | "gpu" | "cuda" | "network";
  readonly title: string;
  /** Whether these limits want it at all. */
  isWanted(limits: Limits): boolean;
  look(machine: Machine, limits: Limits, options: { signal: AbortSignal }): Promise<Finding>;
}

const gibibyte = 1024 ** 3;
/** A driver that wakes up its GPUs takes seconds; the SDK gives it as long. */
const gpuTimeoutMs = 30_000;
const dns = { host: "8.8.8.8", port: 53 };

/** What RunPod's own SDK looks at before the first job, by its thresholds, in its order: only what is critical makes a machine unfit. */
export const fitnessLooks: readonly FitnessLook[] = [
  { check: "gpu", title: "GPU", isWanted: ({ skipGpu }) => !skipGpu, look: gpu },
  { check: "memory", title: "available memory", isWanted: ({ skipSystem }) => !skipSystem, look: memory },
  { check: "disk", title: "free disk", isWanted: ({ skipSystem }) => !skipSystem, look: disk },
  { check: "network", title: "network", isWanted: ({ skipSystem, network: wanted }) => !skipSystem && wanted, look: network },
  { check: "cuda", title: "CUDA", isWanted: ({ skipSystem }) => !skipSystem, look: cuda },
];

/** All looks at once; the first one, in their order, that found the machine unfit. What could not be learnt is no reason. */
export async function checkFitness(
  limits: Limits,
  { signal, env, root = "" }: { signal: AbortSignal; env: Readonly<Record<string, string | undefined>>; root?: string },
): Promise<{ readonly check: string; readonly reason: string } | undefined> {
  const at = (path: string) => (root === "" ? path : join(root, path));
  const machine: Machine = {
    at,
    read: (path) => readFile(at(path), "utf8").catch(() => undefined),
    run: (argv, options) => runProgram(argv, { env, ...options }),
  };
  const wanted = fitnessLooks.filter((one) => one.isWanted(limits));
  const found = await Promise.all(wanted.map(async (one) => ({ check: one.check, finding: await one.look(machine, limits, { signal }) })));
  const bad = found.find(({ finding }) => finding.state === "critical");
  return bad && { check: bad.check, reason: bad.finding.message };
}

async function memory({ at, read }: Machine, { minMemoryGb }: Limits): Promise<Finding> {
  const available = Number(/^MemAvailable:\s+(\d+)/m.exec((await read("/proc/meminfo")) ?? "")?.[1]) * 1024;
  if (!(available > 0)) return notChecked("/proc/meminfo does not say how much is available");
  const { memoryBytes = Number.POSITIVE_INFINITY } = readCgroupLimits({ root: at("/sys/fs/cgroup") });
  const gib = Math.min(available, memoryBytes) / gibibyte;
  const text = `${gib.toFixed(2)} GiB available, ${minMemoryGb} GiB required`;
  return gib < minMemoryGb ? critical(`too little memory: ${text}`, "Choose a machine with more memory, or set RUNPOD_MIN_MEMORY_GB.") : ok(text);
}

async function disk({ at }: Machine, { minDiskPercent }: Limits): Promise<Finding> {
  const { blocks, bavail } = await statfs(at("/"));
  if (blocks === 0) return notChecked("/ does not say its size");
  const percent = (100 * bavail) / blocks;
  const text = `${percent.toFixed(1)} % of / free, ${minDiskPercent} % required`;
  return percent < minDiskPercent
    ? critical(`too little disk: ${text}`, "Give the endpoint a larger container disk, or set RUNPOD_MIN_DISK_PERCENT.")
    : ok(text);
}

/** A machine without a GPU is a CPU worker, and as fit as any. */
async function gpu(machine: Machine, _limits: Limits, { signal }: { signal: AbortSignal }): Promise<Finding> {
  if (deviceFiles(machine).length === 0) return notChecked("this machine has no GPU");
  return await driver(machine, { signal, timeoutMs: gpuTimeoutMs });
}

async function cuda(machine: Machine, { minCuda }: Limits, { signal }: { signal: AbortSignal }): Promise<Finding> {
  if (deviceFiles(machine).length === 0) return notChecked("this machine has no GPU");
  const result = await machine.run(["nvidia-smi"], { signal, timeoutMs: gpuTimeoutMs });
  const trouble = troubleOf("nvidia-smi", result);
  const allowed = result.type === "ended" ? allowedCuda(result.stdout) : undefined;
  if (trouble !== undefined || !allowed) return notChecked(trouble ?? "nvidia-smi does not say which CUDA version its driver allows");
  const [major = 0, minor = 0] = minCuda.split(".").map(Number);
  const text = `the driver allows CUDA ${allowed.major}.${allowed.minor}, ${minCuda} required`;
  const isOld = allowed.major < major || (allowed.major === major && allowed.minor < minor);
  return isOld ? critical(`CUDA is too old: ${text}`, "Filter the endpoint's machines by CUDA version, or set RUNPOD_MIN_CUDA_VERSION.") : ok(text);
}

function network(_machine: Machine, { networkTimeoutSeconds }: Limits, { signal }: { signal: AbortSignal }): Promise<Finding> {
  const name = `${dns.host}:${dns.port}`;
  return new Promise((resolve) => {
    const socket = connect({ ...dns, signal });
    const end = (finding: Finding) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(finding);
    };
    const unreachable = (reason: string) =>
      end(critical(`no network: ${name} ${reason}`, "Let the machine out to the internet, or leave fitness.network off."));
    const timer = setTimeout(() => unreachable(`did not answer within ${networkTimeoutSeconds} s`), networkTimeoutSeconds * 1000);
    socket.once("connect", () => end(ok(`${name} answers`)));
    socket.once("error", (error) => (signal.aborted ? end(notChecked("interrupted")) : unreachable(`cannot be reached (${error.message})`)));
  });
}
