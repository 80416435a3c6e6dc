import { availableParallelism } from "node:os";
import { readCgroupLimits } from "../../machine/cgroup.ts";
import { type Check, type Finding, notChecked, ok, warning } from "../check.ts";
import type { Patient } from "../patient.ts";

export const limitsChecks: readonly Check[] = [
  { id: "limits.cpu", subject: "limits", title: "CPUs", check: async (patient) => cpu(patient) },
  { id: "limits.pids", subject: "limits", title: "processes", check: pids },
  { id: "limits.files", subject: "limits", title: "open files", check: files },
];

/** Programs count the machine's CPUs, not the container's share; torch with too many threads is several times slower. */
function cpu(patient: Patient): Finding {
  const seen = availableParallelism();
  const { cpus } = readCgroupLimits({ root: patient.at("/sys/fs/cgroup") });
  const facts = { seen, limit: cpus ?? null };
  const allowed = cpus ?? seen;
  const engines = patient.config.type === "loaded" ? patient.engines : [];
  const threads = engines.map(([name, engine]) => ({ name, kind: engine.kind, value: patient.engineEnv(engine)["OMP_NUM_THREADS"] }));
  const tooMany = threads.find(({ value }) => Number(value) > allowed);
  if (tooMany)
    return warning(
      `${tooMany.name} is to use ${tooMany.value} threads, ${allowed} CPUs are allowed`,
      `fettle start --set engines.${tooMany.name}.env.OMP_NUM_THREADS=${allowed}`,
      facts,
    );
  if (cpus === undefined) return ok(`${seen}, no limit`, facts);
  // The bundled engine's launch sets it by itself.
  const unset = threads.find(({ kind, value }) => value === undefined && kind !== "diffusers");
  if (unset)
    return warning(
      `${cpus} are allowed, but programs see ${seen} and start as many threads`,
      `fettle start --set engines.${unset.name}.env.OMP_NUM_THREADS=${cpus}`,
      facts,
    );
  return ok(`${cpus} of ${seen} are allowed`, facts);
}

async function pids({ read }: Patient): Promise<Finding> {
  const max = (await read("/sys/fs/cgroup/pids.max")) ?? (await read("/sys/fs/cgroup/pids/pids.max"));
  if (max === undefined) return notChecked("the cgroup says no limit of processes");
  const limit = Number(max);
  if (!Number.isFinite(limit)) return ok("no limit");
  const used = Number((await read("/sys/fs/cgroup/pids.current")) ?? (await read("/sys/fs/cgroup/pids/pids.current")) ?? 0);
  const text = `${used} of ${limit} used (threads count too)`;
  return limit - used < 256
    ? warning(`${text}: an engine alone starts hundreds`, "docker run --pids-limit 4096 …", { limit, used })
    : ok(text, { limit, used });
}

async function files({ read }: Patient): Promise<Finding> {
  const [, soft, hard] = /^Max open files\s+(\S+)\s+(\S+)/m.exec((await read("/proc/self/limits")) ?? "") ?? [];
  if (soft === undefined) return notChecked("/proc/self/limits cannot be read");
  const limit = soft === "unlimited" ? Number.POSITIVE_INFINITY : Number(soft);
  if (limit >= 4096) return ok(soft, { soft, hard: hard ?? null });
  return warning(`${soft} at once: too few for an engine with many models`, "docker run --ulimit nofile=65536 …, or `ulimit -n 65536` in a shell", {
    soft,
    hard: hard ?? null,
  });
}
