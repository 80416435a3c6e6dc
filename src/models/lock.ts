import { existsSync, mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { pause } from "../util/pause.ts";
import { isGone, ownMark, parseMark, type ProcessMark } from "./process-mark.ts";

const beatMs = 5000;
const usualStaleMs = 60_000;

export interface LockOptions {
  readonly signal: AbortSignal;
  /** A holder elsewhere that gave no sign for so long is taken for dead; one on this machine is known to be dead at once. */
  readonly staleMs?: number;
  /** Called once when somebody else holds it. */
  readonly onWait?: (holder: string) => void;
}

/**
 * A lock file that processes and machines on one volume respect; ends when it is disposed of. Throws the system's error when the
 * folder cannot be written, or the signal's reason.
 *
 *     PATH            {"token": t0, "pid": …}     made with O_EXCL, touched every 5 s
 *     PATH.t0         {"token": t1, …}            t0's holder died: whoever could make this file holds the lock now, and so on
 *
 * Nothing is ever renamed or overwritten, so two that see the same dead holder cannot both win. The last holder removes PATH first: a
 * chain is valid only while its root is there.
 */
export async function acquireLock(path: string, { signal, staleMs = usualStaleMs, onWait }: LockOptions): Promise<Disposable> {
  mkdirSync(dirname(path), { recursive: true });
  const own = ownMark();
  const seen = new Map<string, { touchedMs: number; sinceMs: number }>();
  let waited = false;
  for (let waitMs = 50; ; waitMs = Math.min(1000, waitMs * 2)) {
    signal.throwIfAborted();
    const chain = walk(path, own, seen, staleMs);
    if (chain.type === "ours") return hold(chain.files);
    if (chain.type === "again") continue;
    if (!waited) onWait?.(chain.holder ? `process ${chain.holder.pid} on ${chain.holder.host}` : "another process");
    waited = true;
    await pause(waitMs, { signal });
  }
}

/** Removes what dead holders left of a lock that nobody wants any more; a living one keeps it. Never throws. */
export function clearDeadLock(path: string): void {
  try {
    if (!existsSync(path)) return;
    const chain = walk(path, ownMark(), new Map(), usualStaleMs);
    if (chain.type === "ours") hold(chain.files)[Symbol.dispose]();
  } catch {
    // A folder that is read-only now keeps them.
  }
}

type Walk =
  | { readonly type: "ours"; readonly files: readonly string[] }
  | { readonly type: "again" }
  | { readonly type: "held"; readonly holder?: ProcessMark };

/** From the root to the first file that is missing (then it is made, and is ours) or whose holder lives. */
function walk(path: string, own: ProcessMark, seen: Map<string, { touchedMs: number; sinceMs: number }>, staleMs: number): Walk {
  const files: { readonly file: string; readonly text: string }[] = [];
  for (let file = path; ;) {
    const text = JSON.stringify(own);
    if (create(file, text)) {
      // The root may have gone while we looked at its successors: then what was made here is no lock.
      const valid = files.every((one) => read(one.file)?.text === one.text);
      if (valid) return { type: "ours", files: [...files.map((one) => one.file), file] };
      rmSync(file, { force: true });
      return { type: "again" };
    }
    const found = read(file);
    if (!found) return { type: "again" };
    const holder = parseMark(found.text);
    if (!(holder && isGone(holder)) && !isSilent(file, found.touchedMs, seen, staleMs)) return { type: "held", ...(holder && { holder }) };
    files.push({ file, text: found.text });
    // A file without a mark: its maker died before it could write it.
    file = `${path}.${holder?.token ?? `unmarked-${found.inode}-${Math.round(found.touchedMs)}`}`;
  }
}

/** By our own clock: those of two machines may differ. */
function isSilent(file: string, touchedMs: number, seen: Map<string, { touchedMs: number; sinceMs: number }>, staleMs: number): boolean {
  const before = seen.get(file);
  if (before?.touchedMs !== touchedMs) {
    seen.set(file, { touchedMs, sinceMs: performance.now() });
    return false;
  }
  return performance.now() - before.sinceMs >= staleMs;
}

function hold(files: readonly string[]): Disposable {
  const own = files.at(-1) ?? "";
  const beat = setInterval(() => {
    try {
      utimesSync(own, new Date(), new Date());
    } catch {
      // Somebody took us for dead, or the volume is gone; what is done under the lock is checked before it counts.
    }
  }, beatMs);
  beat.unref();
  return {
    [Symbol.dispose]() {
      clearInterval(beat);
      try {
        for (const file of files) rmSync(file, { force: true });
      } catch {
        // The volume is gone or read-only now: our process's end will free it.
      }
    },
  };
}

function create(path: string, text: string): boolean {
  try {
    writeFileSync(path, text, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function read(path: string): { readonly text: string; readonly touchedMs: number; readonly inode: number } | undefined {
  try {
    const text = readFileSync(path, "utf8");
    const { mtimeMs, ino } = statSync(path);
    return { text, touchedMs: mtimeMs, inode: ino };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
