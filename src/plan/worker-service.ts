import { join } from "node:path";
import type { Config } from "../config/schema/index.ts";
import type { LogFormat } from "../log/log.ts";
import type { Draft } from "./draft.ts";
import type { Service } from "./plan.ts";
import type { ProbeSpec } from "./probe-spec.ts";
import { reachableHost } from "./probe.ts";
import { expectation, workerRestart } from "./service-rules.ts";

export interface WorkerOptions {
  /** The argv that starts this very program again. */
  readonly selfArgv: readonly string[];
  /** The worker's stderr is a pipe, so `auto` must be decided here. */
  readonly logFormat: LogFormat;
  /** The control socket's name within `runtimeDir`. */
  readonly socketName: string;
}

/**
 * The worker process, when any source is on. It waits for no engine: it looks at them itself, and takes no job before one is
 * ready. It is essential, so that a worker that keeps failing ends the container instead of leaving it up and idle.
 */
export function planWorker({ config, files }: Draft, sources: Config["sources"], { selfArgv, logFormat, socketName }: WorkerOptions): Service[] {
  const { runpod, http, file } = sources;
  if (!runpod?.enabled && !http?.enabled && !file?.enabled) return [];
  // The file source ends the worker after its job, and the worker's exit code is then the container's.
  const once = file?.enabled === true && file.exitWhenDone;
  return [
    {
      name: "worker",
      role: "worker",
      argv: [...selfArgv, "work"],
      env: { FETTLE_CONTROL: join(config.runtimeDir, socketName), FETTLE_LOG_FORMAT: logFormat, FETTLE_LOG_LEVEL: config.log.level },
      dependsOn: [],
      ...(http?.enabled && { readiness: listening(http.listen, http.port) }),
      restart: once ? { ...workerRestart, policy: "never" } : workerRestart,
      essential: true,
      stop: { signal: "SIGTERM", graceMs: config.stop.budget },
      console: true,
      ...(runpod?.enabled && runpod.announce !== undefined && { announce: runpod.announce }),
      ...(runpod?.enabled && runpod.expect && { expect: expectation(runpod.expect) }),
      ...files("worker"),
    },
  ];
}

function listening(listen: string, port: number): ProbeSpec {
  return { type: "tcp", host: reachableHost(listen), port, periodMs: 50, timeoutMs: 2000, startupMs: 60_000, logEvery: 0 };
}
