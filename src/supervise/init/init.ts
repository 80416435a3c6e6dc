import { readFileSync } from "node:fs";
import { findChildren, isLiving } from "../process-table.ts";
import { openLibc } from "./libc.ts";
import { releaseCode } from "./release-code.ts";
import { startReaper } from "./reaper.ts";

export interface Init {
  /** `none`: no FFI here (Node); orphans go to whoever is PID 1. */
  readonly mechanism: "pid-1" | "subreaper" | "none";
  /** Living children that somebody else started and left behind, and those of `own` are not counted. */
  adopted(own: ReadonlySet<number>): number[];
  /** Once the boot is over: gives back the memory of the runtime's code that only the boot needed (15 MB of 50 stay away). */
  releaseCode(): void;
  end(): void;
}

const nobody: Init = { mechanism: "none", adopted: () => [], releaseCode: () => undefined, end: () => undefined };

/** Makes this process the one that orphans below it come to, and that lets none stay a zombie: as PID 1, and anywhere else. */
export async function becomeInit(): Promise<Init> {
  const libc = await openLibc();
  if (!libc) return nobody;
  const isFirst = process.pid === 1;
  if (!isFirst && !libc.becomeSubreaper()) return nobody;
  const given = givenFileLimit();
  if (given) libc.setSoftFileLimit(given.soft, given.hard);
  const reaper = startReaper(libc);
  return {
    mechanism: isFirst ? "pid-1" : "subreaper",
    adopted: (own) => findChildren((row) => isLiving(row) && !own.has(row.pid)).map(({ pid }) => pid),
    releaseCode: () => releaseCode(libc),
    end: () => reaper.end(),
  };
}

/**
 * The runtimes raise the soft limit on open files to the hard one and children inherit that; programs that use select() or close
 * every number up to the limit suffer. What we were given still stands at our parent. As PID 1 there is none to ask.
 */
function givenFileLimit(): { soft: number; hard: number } | undefined {
  const [own, parent] = ["self", String(process.ppid)].map(readFileLimit);
  return own && parent && own.hard === parent.hard && parent.soft < own.soft ? parent : undefined;
}

function readFileLimit(pid: string): { soft: number; hard: number } | undefined {
  try {
    const [, soft, hard] = /^Max open files\s+(\d+)\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, "latin1")) ?? [];
    return soft !== undefined && hard !== undefined ? { soft: Number(soft), hard: Number(hard) } : undefined;
  } catch {
    return undefined;
  }
}
