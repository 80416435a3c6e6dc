import { readdirSync, readFileSync } from "node:fs";
import type { Exposition, Sample } from "./exposition.ts";

/** The supervisor's own process, by the names that Prometheus' client libraries share. */
export function writeProcess(out: Exposition): void {
  const one = (value: number | undefined): Sample[] => (value === undefined || !Number.isFinite(value) ? [] : [[{}, value]]);
  const { user, system } = process.cpuUsage();
  out.family("process_cpu_seconds_total", "counter", "CPU time of the supervisor.", one((user + system) / 1e6));
  out.family("process_resident_memory_bytes", "gauge", "Resident memory of the supervisor.", one(process.memoryUsage().rss));
  out.family("process_start_time_seconds", "gauge", "When the supervisor started, since the epoch.", one(Math.round(performance.timeOrigin) / 1000));
  out.family("process_open_fds", "gauge", "Open file descriptors of the supervisor.", one(attempt(() => readdirSync("/proc/self/fd").length)));
  const limit = attempt(() => /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1]);
  out.family("process_max_fds", "gauge", "As many may be open.", one(limit === undefined ? undefined : Number(limit)));
}

function attempt<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
