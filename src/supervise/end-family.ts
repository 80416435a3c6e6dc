import { pause } from "../util/pause.ts";
import { findFamily, groupExists, type ProcessRow } from "./process-table.ts";

export interface Family {
  /** The leader: its pid is the group's and the session's number. */
  readonly pid: number;
  /** `NAME=value` in the environment of everything that this child started. */
  readonly marker: string;
  readonly leaderExited: Promise<unknown>;
  /** Its members may be older than this process: a former run's. */
  readonly older?: true;
}

export interface EndOptions {
  readonly signal: NodeJS.Signals;
  /** Aborts when patience is at its end: then SIGKILL. */
  readonly kill: AbortSignal;
  /** Aborts when there is no time to see whether SIGKILL helps; without it, 2 s. */
  readonly over?: AbortSignal;
}

/** How long a process may take to vanish after SIGKILL; one stuck in the kernel is given up on. */
const vanishMs = 2000;
/** For processes that left the group of a leader that had to be killed, between their signal and SIGKILL. */
const strayMs = 200;

/**
 * Ends a child and its whole family: signal to the group, then to whoever left the group, SIGKILL when `kill` aborts.
 * Resolves only when nobody is left (zombies do not count), or when even SIGKILL did not help.
 */
export async function endFamily(family: Family, { signal, kill, over: giveUp }: EndOptions): Promise<{ killed: boolean; left: readonly number[] }> {
  tell(-family.pid, signal);
  // A stopped process gets its signal only when it goes on.
  tell(-family.pid, "SIGCONT");
  await untilAborted(kill, family.leaderExited);
  const told = new Set<number>();
  // The group has its signal already: many a program takes a second one for impatience.
  const tellOnce = ({ pid, group }: ProcessRow) => {
    if (group !== family.pid && !told.has(pid)) tell(pid, signal);
    told.add(pid);
  };
  if ((await untilEmpty(family, kill, tellOnce)).length === 0) return { killed: false, left: [] };
  tell(-family.pid, "SIGKILL");
  // Behind a deaf leader nobody has spoken to the strays yet: they get their signal, and a moment.
  await within(strayMs, giveUp, (over) => untilEmpty(family, over, tellOnce));
  const left = await within(vanishMs, giveUp, async (over) => {
    const stuck = await untilEmpty(family, over, ({ pid }) => tell(pid, "SIGKILL"));
    await untilAborted(over, family.leaderExited);
    return stuck;
  });
  return { killed: true, left: left.map(({ pid }) => pid) };
}

async function within<T>(ms: number, sooner: AbortSignal | undefined, run: (over: AbortSignal) => Promise<T>): Promise<T> {
  const over = new AbortController();
  const end = () => over.abort();
  const timer = setTimeout(end, ms);
  sooner?.addEventListener("abort", end, { once: true });
  if (sooner?.aborted) end();
  try {
    return await run(over.signal);
  } finally {
    clearTimeout(timer);
    sooner?.removeEventListener("abort", end);
  }
}

async function untilEmpty(family: Family, over: AbortSignal, onMember: (row: ProcessRow) => void): Promise<readonly ProcessRow[]> {
  for (let pauseMs = 2; ; pauseMs = Math.min(50, pauseMs * 1.5)) {
    // Asking for the group is cheap; the whole table is read when it seems to be empty, and after a while, for zombies.
    if (over.aborted || pauseMs > 10 || !groupExists(family.pid)) {
      const members = findFamily(family);
      if (members.length === 0 || over.aborted) return members;
      for (const row of members) onMember(row);
    }
    await pause(pauseMs, { signal: over });
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

export interface StrayOptions {
  /** Who else is ours: orphans that came to this process, whatever their environment says. */
  adopted?(): readonly number[];
  readonly momentMs?: number;
  /** How long they may take to vanish after SIGKILL; default 2 s. */
  readonly vanishMs?: number;
}

/** Ends whoever still carries the marker, or was adopted, after every service is gone: SIGTERM, a moment, SIGKILL. */
export async function endStrays(marker: string, { adopted = () => [], momentMs = 300, vanishMs: patienceMs = vanishMs }: StrayOptions = {}): Promise<void> {
  const endMs = performance.now() + momentMs;
  for (let pauseMs = 2; ; pauseMs = Math.min(50, pauseMs * 1.5)) {
    const strays = new Set([...findFamily({ marker }).map(({ pid }) => pid), ...adopted()]);
    if (strays.size === 0) return;
    const isOver = performance.now() >= endMs;
    for (const pid of strays) if (isOver || pauseMs === 2) tell(pid, isOver ? "SIGKILL" : "SIGTERM");
    if (isOver && performance.now() >= endMs + patienceMs) return;
    await pause(pauseMs);
  }
}
