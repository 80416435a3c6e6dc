import { pause } from "../util/pause.ts";
import { findFamily, groupExists } from "./process-table.ts";

export interface Family {
  /** The leader: its pid is the group's and the session's number. */
  readonly pid: number;
  /** `NAME=value` in the environment of everything that this child started. */
  readonly marker: string;
  readonly leaderExited: Promise<unknown>;
}

export interface EndOptions {
  readonly signal: NodeJS.Signals;
  /** Aborts when patience is at its end: then SIGKILL. */
  readonly kill: AbortSignal;
}

/** How long a process may take to vanish after SIGKILL; one stuck in the kernel is given up on. */
const vanishMs = 2000;

/**
 * Ends a child and its whole family: signal to the group, then to whoever left the group, SIGKILL when `kill` aborts.
 * Resolves only when nobody is left (zombies do not count), or when even SIGKILL did not help.
 */
export async function endFamily(family: Family, { signal, kill }: EndOptions): Promise<{ killed: boolean; left: readonly number[] }> {
  tell(-family.pid, signal);
  // A stopped process gets its signal only when it goes on.
  tell(-family.pid, "SIGCONT");
  await untilAborted(kill, family.leaderExited);
  const told = new Set<number>();
  const left = await untilEmpty(family, kill, (pid) => {
    if (told.has(pid)) return;
    told.add(pid);
    tell(pid, signal);
  });
  if (left.length === 0) return { killed: false, left };
  tell(-family.pid, "SIGKILL");
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), vanishMs);
  const stuck = await untilEmpty(family, patience.signal, (pid) => tell(pid, "SIGKILL"));
  await untilAborted(patience.signal, family.leaderExited);
  clearTimeout(timer);
  return { killed: true, left: stuck };
}

async function untilEmpty(family: Family, until: AbortSignal, onMember: (pid: number) => void): Promise<readonly number[]> {
  for (let pauseMs = 2; ; pauseMs = Math.min(50, pauseMs * 1.5)) {
    // Cheap while the group lives on; the whole table is read when it seems to be over, and now and then for zombies.
    const members = !until.aborted && pauseMs < 10 && groupExists(family.pid) ? [family.pid] : findFamily(family);
    if (members.length === 0 || until.aborted) return members;
    for (const pid of members) if (pid !== family.pid) onMember(pid);
    await pause(pauseMs, { signal: until });
  }
}

async function untilAborted(signal: AbortSignal, done: Promise<unknown>): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = () => resolve();
  signal.addEventListener("abort", end, { once: true });
  await Promise.race([promise, done]);
  signal.removeEventListener("abort", end);
}

/** Signals a process (or, negative, a group); one that is gone is fine. */
export function tell(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended by itself in the meantime.
  }
}

/** Ends whoever still carries the marker after every service is gone: SIGTERM, a moment, SIGKILL. */
export async function endStrays(marker: string, { momentMs = 300 }: { momentMs?: number } = {}): Promise<void> {
  const endMs = performance.now() + momentMs;
  for (let pauseMs = 2; ; pauseMs = Math.min(50, pauseMs * 1.5)) {
    const strays = findFamily({ marker });
    if (strays.length === 0) return;
    const isOver = performance.now() >= endMs;
    for (const pid of strays) if (isOver || pauseMs === 2) tell(pid, isOver ? "SIGKILL" : "SIGTERM");
    if (isOver) return;
    await pause(pauseMs);
  }
}
