import { randomBytes } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { z } from "zod";

const mark = z.object({
  token: z.string(),
  host: z.string(),
  /** The boot and the PID namespace: only where both are ours does a PID mean anything. */
  place: z.string().optional(),
  pid: z.number(),
  started: z.string().optional(),
});

/** Who holds a lock, so that others can tell whether it still lives. */
export type ProcessMark = z.infer<typeof mark>;

export function ownMark(): ProcessMark {
  const place = ownPlace();
  const started = startOf(process.pid);
  return { token: randomBytes(8).toString("hex"), host: hostname(), pid: process.pid, ...(place && { place }), ...(started && { started }) };
}

export function parseMark(text: string): ProcessMark | undefined {
  try {
    return mark.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** True only when it is certain: a process of this machine and container that is gone, or whose number another one has now. */
export function isGone({ place, pid, started }: ProcessMark): boolean {
  if (!place || place !== ownPlace()) return false;
  return started === undefined || startOf(pid) !== started;
}

function ownPlace(): string | undefined {
  try {
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()} ${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    return undefined;
  }
}

/** Field 22 of /proc/PID/stat; the name before it may hold blanks and brackets. A zombie has ended. */
function startOf(pid: number): string | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
