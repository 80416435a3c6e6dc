import { readdirSync, readFileSync } from "node:fs";

/** One row of /proc: enough to know a process again (`startTicks`) and to find its family. */
export interface ProcessRow {
  readonly pid: number;
  /** R, S, D, T, Z …; Z is dead and only waits for its parent to look. */
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  /** Clock ticks after boot; with the pid it names a process for good, since pids are used again. */
  readonly startTicks: number;
}

/** A process by its pid, or undefined when there is none. */
export function readProcess(pid: number): ProcessRow | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // The name stands in parentheses and may hold spaces and parentheses of its own.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return { pid, state: fields[0] ?? "Z", parent: Number(fields[1]), group: Number(fields[2]), session: Number(fields[3]), startTicks: Number(fields[19]) };
}

export const isLiving = (row: ProcessRow): boolean => row.state !== "Z" && row.state !== "X";

/** Every process of the table that `accepts` takes. */
export function findProcesses(accepts: (row: ProcessRow) => boolean): ProcessRow[] {
  return readdirSync("/proc").flatMap((entry) => {
    const row = /^\d/.test(entry) ? readProcess(Number(entry)) : undefined;
    return row && accepts(row) ? [row] : [];
  });
}

/** Children of this process that `accepts` takes, adopted ones and zombies included. */
export function findChildren(accepts: (row: ProcessRow) => boolean): ProcessRow[] {
  return findProcesses((row) => row.parent === process.pid && accepts(row));
}

/**
 * Living processes of a child's family: its group, its session, and whoever left both but still carries the marker in
 * the environment it was started with. Another user's environment needs CAP_SYS_PTRACE to be read; such a stray is not found.
 */
export function findFamily(family: { readonly pid?: number; readonly marker: string; readonly older?: true }): ProcessRow[] {
  const self = readProcess(process.pid);
  const found: ProcessRow[] = [];
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const row = readProcess(pid);
    // Older than this process: no child of ours. That leaves few environments to read.
    if (!row || !isLiving(row) || (!family.older && row.startTicks < (self?.startTicks ?? 0))) continue;
    if (family.pid !== undefined && (row.group === family.pid || row.session === family.pid)) found.push(row);
    // Reading the environment of a process in state D can hang with it.
    else if (row.state !== "D" && carriesMarker(pid, family.marker)) found.push(row);
  }
  return found;
}

export function carriesMarker(pid: number, marker: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`).includes(marker);
  } catch {
    return false;
  }
}

/** Does the process group still have a member? A zombie counts as one: only the table tells them apart. */
export function groupExists(pid: number): boolean {
  try {
    process.kill(-pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
