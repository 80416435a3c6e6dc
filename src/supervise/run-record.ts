import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FettleError } from "../errors/fettle-error.ts";
import { pause } from "../util/pause.ts";
import { endFamily, endStrays } from "./end-family.ts";
import { readPidFile, removePidFile } from "./pid-file.ts";
import { carriesMarker, findProcesses, isLiving, readProcess } from "./process-table.ts";
import { markerOf } from "./surroundings.ts";

/** The file's name within `runtimeDir`. */
const recordName = "processes";

/** A process as another run can know it again: pids are used again, a pid with its start time and boot is not. */
interface Recorded {
  readonly pid: number;
  readonly startTicks: number;
  readonly pidFile: string;
}

/**
 * What this run has started, in a file, for the next run: when fettle and its guardian are both killed, their services go on, and a PID file
 * alone does not say whose the number is by then. Plain lines, because it is written at every spawn:
 *
 *     BOOT_ID INSTANCE SUPERVISOR_PID START_TICKS
 *     PID START_TICKS PIDFILE
 */
export class RunRecord {
  readonly #path: string;
  readonly #head: string;
  readonly #processes = new Map<number, Recorded>();

  constructor(runtimeDir: string, instance: string) {
    this.#path = join(runtimeDir, recordName);
    this.#head = `${bootId()} ${instance} ${process.pid} ${readProcess(process.pid)?.startTicks ?? 0}`;
  }

  add(pid: number, pidFile: string): void {
    this.#processes.set(pid, { pid, startTicks: readProcess(pid)?.startTicks ?? 0, pidFile });
    this.#write();
  }

  remove(pid: number): void {
    if (this.#processes.delete(pid)) this.#write();
  }

  /** Nothing is left of this run. */
  end(): void {
    rmSync(this.#path, { force: true });
  }

  #write(): void {
    const lines = [...this.#processes.values()].map(({ pid, startTicks, pidFile }) => `${pid} ${startTicks} ${pidFile}`);
    try {
      writeFileSync(this.#path, `${[this.#head, ...lines].join("\n")}\n`, { mode: 0o600 });
    } catch {
      // A full disk: the guardian does not need the record, and the next write has it all.
    }
  }
}

export interface Leftovers {
  /** Processes of a former run that were still there and are ended now. */
  readonly ended: readonly number[];
  /** PID files of a former run that name somebody else's process by now; the files are gone, the process is left alone. */
  readonly strangers: readonly number[];
}

/** How long what a former run left behind may take to obey SIGTERM. */
const graceMs = 2000;

/** Throws when the supervisor of the record still lives, even if it does not answer (somebody has stopped it). */
export function refuseBeside(runtimeDir: string): void {
  const { head } = readRecord(runtimeDir);
  if (!head || head.supervisor.pid === process.pid || head.bootId !== bootId() || !isSame(head.supervisor)) return;
  const { pid } = head.supervisor;
  throw new FettleError("supervise.already-running", `Cannot start: another fettle (process ${pid}) runs with ${runtimeDir}.`, {
    details: { runtimeDir, pid },
  });
}

export function describeLeftovers({ ended, strangers }: Leftovers): string[] {
  return [
    ...(ended.length > 0 ? [`A former run had left processes behind; they were ended: ${ended.join(", ")}.`] : []),
    ...(strangers.length > 0 ? [`PID files of a former run name processes that are not ours any more, which go on: ${strangers.join(", ")}.`] : []),
  ];
}

/** Ends what a former run of this folder left behind, and removes its PID files. Reads nothing when that run ended well. */
export async function endLeftovers(runtimeDir: string): Promise<Leftovers> {
  const { head, processes } = readRecord(runtimeDir);
  if (!head) return { ended: [], strangers: [] };
  const marker = markerOf(head.instance);
  const isThisBoot = head.bootId === bootId();
  const known = isThisBoot ? processes.filter(isSame) : [];
  const strangers = processes.filter(({ pid, pidFile }) => !known.some((one) => one.pid === pid) && readPidFile(pidFile) === pid && readProcess(pid));
  const marked = isThisBoot ? findProcesses((row) => row.pid !== process.pid && isLiving(row) && carriesMarker(row.pid, marker)) : [];
  const giveUp = AbortSignal.timeout(graceMs);
  await Promise.all(known.map(({ pid }) => endFamily({ pid, marker, leaderExited: gone(pid), older: true }, { signal: "SIGTERM", kill: giveUp })));
  if (marked.length > 0)
    await endStrays(marker, { adopted: () => findProcesses((row) => isLiving(row) && carriesMarker(row.pid, marker)).map(({ pid }) => pid) });
  for (const { pid, pidFile } of processes) if (readPidFile(pidFile) === pid) removePidFile(pidFile);
  rmSync(join(runtimeDir, recordName), { force: true });
  return { ended: [...new Set([...known, ...marked].map(({ pid }) => pid))], strangers: strangers.map(({ pid }) => pid) };
}

/** Nobody tells about the end of another's child, so it is asked for. A zombie counts as gone. */
async function gone(pid: number): Promise<void> {
  for (let row = readProcess(pid); row && isLiving(row); row = readProcess(pid)) await pause(10);
}

function isSame({ pid, startTicks }: Pick<Recorded, "pid" | "startTicks">): boolean {
  const row = readProcess(pid);
  return row !== undefined && isLiving(row) && row.startTicks === startTicks;
}

interface Head {
  readonly bootId: string;
  readonly instance: string;
  readonly supervisor: Pick<Recorded, "pid" | "startTicks">;
}

function readRecord(runtimeDir: string): { readonly head?: Head; readonly processes: readonly Recorded[] } {
  let text: string;
  try {
    text = readFileSync(join(runtimeDir, recordName), "utf8");
  } catch {
    return { processes: [] };
  }
  const [first = "", ...rest] = text.split("\n");
  const [, boot, instance, pid, ticks] = /^(\S+) ([0-9a-f]+) (\d+) (\d+)$/.exec(first) ?? [];
  if (boot === undefined || instance === undefined) return { processes: [] };
  const processes = rest.flatMap((line) => {
    const [, own, startTicks, pidFile = ""] = /^(\d+) (\d+) (.+)$/.exec(line) ?? [];
    return own === undefined ? [] : [{ pid: Number(own), startTicks: Number(startTicks), pidFile }];
  });
  return { head: { bootId: boot, instance, supervisor: { pid: Number(pid), startTicks: Number(ticks) } }, processes };
}

function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "unknown";
  }
}
