import { readFile } from "node:fs/promises";
import type { ServiceStatus } from "../../control/protocol.ts";
import { findProcesses, isLiving } from "../process-table.ts";
import type { Exposition, Sample } from "./exposition.ts";

/** What a service's processes hold together. PSS counts a shared page once; it is left out where the kernel does not tell (another user's). */
export interface FamilyMemory {
  readonly service: string;
  readonly role: string;
  readonly processes: number;
  readonly rssBytes: number;
  readonly pssBytes?: number;
}

/**
 * Reads /proc for each running service: its leader's group and session, and all descendants of it. Off the main thread, because the
 * kernel walks every mapping of a process for its PSS, tens of ms for one with a GPU.
 */
export async function readMemory(services: readonly ServiceStatus[]): Promise<readonly FamilyMemory[]> {
  const running = services.filter((service): service is ServiceStatus & { pid: number } => service.pid !== undefined);
  if (running.length === 0) return [];
  const table = findProcesses(isLiving);
  const children = Map.groupBy(table, ({ parent }) => parent);
  return await Promise.all(
    running.map(async ({ name, role, pid }) => {
      const members = new Set(table.filter((row) => row.pid === pid || row.group === pid || row.session === pid).map((row) => row.pid));
      for (const member of members) for (const child of children.get(member) ?? []) members.add(child.pid);
      const each = await Promise.all([...members].map(readOne));
      const pss = each.map(({ pssBytes }) => pssBytes);
      return {
        service: name,
        role,
        processes: members.size,
        rssBytes: each.reduce((sum, { rssBytes }) => sum + rssBytes, 0),
        ...(pss.every((one) => one !== undefined) && { pssBytes: pss.reduce((sum, one) => sum + one, 0) }),
      };
    }),
  );
}

async function readOne(pid: number): Promise<{ rssBytes: number; pssBytes: number | undefined }> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, "latin1").catch(() => "");
  const kilobytes = (text: string, field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? Number.NaN) * 1024;
  const pssBytes = kilobytes(rollup, "Pss");
  if (Number.isFinite(pssBytes)) return { rssBytes: kilobytes(rollup, "Rss"), pssBytes };
  const status = await readFile(`/proc/${pid}/status`, "latin1").catch(() => "");
  return { rssBytes: kilobytes(status, "VmRSS") || 0, pssBytes: undefined };
}

/** The container's own account: what it uses, what it may use, and how often the kernel killed in it. */
export async function readCgroup(root = "/sys/fs/cgroup"): Promise<{ usedBytes?: number; limitBytes?: number; kills?: number }> {
  const number = async (...files: readonly string[]) => {
    for (const file of files) {
      const value = Number((await readFile(`${root}/${file}`, "latin1").catch(() => "")).trim() || Number.NaN);
      if (Number.isFinite(value)) return value;
    }
    return undefined;
  };
  const [usedBytes, limitBytes, events] = await Promise.all([
    number("memory.current", "memory/memory.usage_in_bytes"),
    number("memory.max", "memory/memory.limit_in_bytes"),
    readFile(`${root}/memory.events`, "latin1").catch(() => ""),
  ]);
  const kills = /^oom_kill (\d+)/m.exec(events)?.[1];
  return {
    ...(usedBytes !== undefined && { usedBytes }),
    // cgroup v1 says "no limit" with a number near 2^63.
    ...(limitBytes !== undefined && limitBytes < 2 ** 60 && { limitBytes }),
    ...(kills !== undefined && { kills: Number(kills) }),
  };
}

export function writeMemory(out: Exposition, families: readonly FamilyMemory[], cgroup: Awaited<ReturnType<typeof readCgroup>>): void {
  const by = (value: (one: FamilyMemory) => number | undefined): Sample[] =>
    families.flatMap((one) => {
      const bytes = value(one);
      return bytes === undefined ? [] : [[{ service: one.service, role: one.role }, bytes] as const];
    });
  out.family(
    "fettle_service_rss_bytes",
    "gauge",
    "Resident memory of the service's processes; shared pages count once for each.",
    by(({ rssBytes }) => rssBytes),
  );
  out.family(
    "fettle_service_pss_bytes",
    "gauge",
    "The same with shared pages divided among those that share them.",
    by(({ pssBytes }) => pssBytes),
  );
  out.family(
    "fettle_service_processes",
    "gauge",
    "Living processes of the service.",
    by(({ processes }) => processes),
  );
  const one = (value: number | undefined): Sample[] => (value === undefined ? [] : [[{}, value]]);
  out.family("fettle_cgroup_memory_bytes", "gauge", "Memory of the container, page cache included.", one(cgroup.usedBytes));
  out.family("fettle_cgroup_memory_limit_bytes", "gauge", "What the container may use.", one(cgroup.limitBytes));
  out.family("fettle_cgroup_oom_kills_total", "counter", "Processes that the kernel killed for memory in the container.", one(cgroup.kills));
}
