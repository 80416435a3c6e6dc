import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { reasonOf } from "../errors/fettle-error.ts";

/** Writes `PID\n`; a text is the reason why that failed (the service runs on without). */
export function writePidFile(path: string, pid: number): string | undefined {
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `${pid}\n`);
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

/** The number in it; undefined when there is none. */
export function readPidFile(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, "latin1").trim());
    return Number.isInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

export function removePidFile(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // A folder that has become read-only keeps it; the next start overwrites it.
  }
}
