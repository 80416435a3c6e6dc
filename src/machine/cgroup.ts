import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";

export interface CgroupLimits {
  /** Whole CPUs (rounded up) when the quota allows fewer than the machine has. */
  readonly cpus?: number;
  /** When there is a limit. */
  readonly memoryBytes?: number;
}

/** v1 says "no limit" with a number near 2^63. */
const noLimitBytes = 2 ** 60;

/** The container's CPU and memory limits: cgroup v2's files, else v1's. `root` is where cgroups are mounted. */
export function readCgroupLimits({
  root = "/sys/fs/cgroup",
  machineCpus = availableParallelism(),
}: { root?: string; machineCpus?: number } = {}): CgroupLimits {
  const [quotaUs, periodUs] = (read(root, "cpu.max") ?? `${read(root, "cpu/cpu.cfs_quota_us") ?? "max"} ${read(root, "cpu/cpu.cfs_period_us") ?? ""}`)
    .split(" ")
    .map(Number);
  const cpus = quotaUs !== undefined && quotaUs > 0 && periodUs !== undefined && periodUs > 0 ? Math.max(1, Math.ceil(quotaUs / periodUs)) : undefined;
  const memoryBytes = Number(read(root, "memory.max") ?? read(root, "memory/memory.limit_in_bytes"));
  return {
    ...(cpus !== undefined && cpus < machineCpus && { cpus }),
    ...(memoryBytes > 0 && memoryBytes < noLimitBytes && { memoryBytes }),
  };
}

function read(root: string, file: string): string | undefined {
  try {
    return readFileSync(join(root, file), "utf8").trim();
  } catch {
    return undefined;
  }
}
