import { writeFileSync } from "node:fs";
import { setPriority } from "node:os";
import { reasonOf } from "../errors/fettle-error.ts";
import type { Limits, Service } from "../plan/plan.ts";

/** Flag of `ulimit`, and the bytes of its unit; 1 for what is counted. */
const flags: Readonly<Record<keyof Limits, readonly [string, number]>> = {
  files: ["-n", 1],
  // dash knows -p only; bash has -u for it, where -p is something else.
  processes: ["-p", 1],
  core: ["-c", 1],
  lockedMemory: ["-l", 1024],
  stack: ["-s", 1024],
  memory: ["-v", 1024],
};

/**
 * The argv that runs a service under its limits. A shell sets them and becomes the program, so that they hold from its first
 * instruction; there is a shell wherever there is a guardian.
 */
export function limitedArgv({ argv, limits }: Pick<Service, "argv" | "limits">): readonly string[] {
  const set = Object.entries(limits ?? {}).map(([name, limit]) => {
    const [flag, unit] = flags[name as keyof Limits];
    return `ulimit ${flag} ${limit === "unlimited" ? limit : Math.ceil(Number(limit) / unit)} || exit 126`;
  });
  return set.length === 0 ? argv : ["/bin/sh", "-c", `${set.join("\n")}\nexec "$@"`, "fettle-limits", ...argv];
}

/** Sets priority and oom_score_adj of a process that was just started, before it has children; a text says what did not work. */
export function adjust(pid: number, { nice, oomScore }: Pick<Service, "nice" | "oomScore">): string | undefined {
  const failures = [
    nice === undefined ? undefined : attempt(`nice ${nice}`, () => setPriority(pid, nice)),
    oomScore === undefined ? undefined : attempt(`oomScore ${oomScore}`, () => writeFileSync(`/proc/${pid}/oom_score_adj`, String(oomScore))),
  ].filter((failure) => failure !== undefined);
  return failures.length === 0 ? undefined : failures.join("; ");
}

function attempt(what: string, act: () => void): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    return `${what}: ${reasonOf(error)}`;
  }
}
