import { findChildren } from "../process-table.ts";
import type { Libc } from "./libc.ts";

export interface Reaper {
  /** How many zombies it took off the table. */
  readonly reaped: number;
  end(): void;
}

/** A runtime takes the exit code of its own child within milliseconds; a zombie this old has nobody else. */
const orphanMs = 1000;
/** Many children that die together are one sweep. */
const gatherMs = 50;

/**
 * Takes orphans that became children of this process off the table once they are dead. `waitpid(-1)` would do it at once, but it
 * takes the exit codes of the runtime's own children too (seen: 256 of 400 lost); so only a child that has been a zombie for a
 * second is taken, known by pid and start time.
 */
export function startReaper(libc: Pick<Libc, "reap">): Reaper {
  const firstSeenMs = new Map<string, number>();
  let timer: NodeJS.Timeout | undefined;
  let reaped = 0;
  const arm = (ms: number) => {
    timer ??= setTimeout(sweep, ms).unref();
  };
  const sweep = () => {
    timer = undefined;
    const nowMs = performance.now();
    const zombies = new Set<string>();
    for (const { pid, startTicks } of findChildren((row) => row.state === "Z")) {
      const key = `${pid}:${startTicks}`;
      const sinceMs = firstSeenMs.get(key);
      if (sinceMs !== undefined && nowMs - sinceMs >= orphanMs && libc.reap(pid)) {
        reaped++;
        continue;
      }
      zombies.add(key);
      if (sinceMs === undefined) firstSeenMs.set(key, nowMs);
    }
    for (const key of firstSeenMs.keys()) if (!zombies.has(key)) firstSeenMs.delete(key);
    if (zombies.size > 0) arm(orphanMs / 2);
  };
  const onChild = () => arm(gatherMs);
  process.on("SIGCHLD", onChild);
  // Some may have died before anybody listened.
  arm(gatherMs);
  return {
    get reaped() {
      return reaped;
    },
    end() {
      process.off("SIGCHLD", onChild);
      clearTimeout(timer);
    },
  };
}
