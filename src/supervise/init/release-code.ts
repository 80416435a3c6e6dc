import { readFileSync } from "node:fs";
import type { Libc } from "./libc.ts";

/**
 * Lets go of the pages of this program's own machine code. They are clean copies of the file: what is still in use comes back
 * at the next call, a few microseconds a page, and what only the start needed stays away. Data is left alone.
 */
export function releaseCode(libc: Pick<Libc, "releasePages">): void {
  for (const line of readFileSync("/proc/self/maps", "latin1").split("\n")) {
    const [range = "", rights, , , , path] = line.split(/ +/);
    if (rights !== "r-xp" || path !== process.execPath) continue;
    const [start = 0, end = 0] = range.split("-").map((address) => Number.parseInt(address, 16));
    libc.releasePages(start, end - start);
  }
}
