/** The workers under comparison, each started as a user would start it and driven only through the platform's protocol. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ConfigParts, writeConfig } from "./config.ts";

/** `handler`: the SDK's handler file on fettle's `python` engine. */
export type SideName = "fettle" | "handler" | "sdk";
export interface Programs {
  readonly fettle: string;
  /** Has runpod and requests. */
  readonly python: string;
  /** Has torch and diffusers; undefined: rows that need them are left out. */
  readonly enginePython: string | undefined;
  readonly dir: string;
}

export interface Launch {
  readonly name: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly logPath: string;
}

export type Ending = { tookMs: number; ending: string };
export interface Worker {
  readonly pid: number;
  readonly startedAtMs: number;
  /** Sends SIGTERM; resolves with the milliseconds until the exit, and how it ended. What is left after `limitMs` is killed. */
  readonly terminate: (limitMs: number) => Promise<Ending>;
  readonly logPath: string;
}

const handlerFile = fileURLToPath(new URL("handler.py", import.meta.url));
let serial = 0;

/** One of the three sides, for an engine of A1111's API that is there already. */
export function launchOf(side: SideName, programs: Programs, engineUrl: string, concurrency: number): Launch {
  const handlerEnv = { BENCH_ENGINE_URL: engineUrl, BENCH_CONCURRENCY: String(concurrency) };
  switch (side) {
    case "fettle":
      return fettleLaunch(programs, { concurrency, engine: { kind: "a1111", url: engineUrl, slots: concurrency } });
    case "handler": {
      const engine = { kind: "python", handler: handlerFile, python: programs.python, slots: concurrency };
      return { ...fettleLaunch(programs, { concurrency, engine }), name: side, env: handlerEnv };
    }
    case "sdk": {
      // Its own checks ask for a route to 8.8.8.8 and would end the worker on a machine without one.
      const env = { ...handlerEnv, RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: "true", RUNPOD_SKIP_GPU_CHECK: "true" };
      return { name: side, argv: [programs.python, "-u", handlerFile], env, logPath: join(ownDir(programs, side), "log.txt") };
    }
  }
}

/** fettle with any engine and any settings of its jobs. */
export function fettleLaunch(programs: Programs, config: Omit<ConfigParts, "dir">): Launch {
  const dir = ownDir(programs, "fettle");
  const launcher = programs.fettle.endsWith(".ts") ? [process.execPath] : [];
  const argv = [...launcher, programs.fettle, "start", "--config", writeConfig({ ...config, dir })];
  return { name: "fettle", argv, env: {}, logPath: join(dir, "log.txt") };
}

export function startWorker({ argv: [command = "", ...args], env, logPath }: Launch, platformEnv: Readonly<Record<string, string>>): Worker {
  const log = openSync(logPath, "w");
  const startedAtMs = performance.now();
  const child = spawn(command, args, { env: { ...process.env, ...platformEnv, ...env }, stdio: ["ignore", log, log], detached: true });
  closeSync(log);
  const exited = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  exited.catch(() => {});
  return { pid: child.pid ?? 0, startedAtMs, logPath, terminate: (limitMs) => terminate(child, exited, limitMs) };
}

async function terminate(child: ChildProcess, exited: Promise<[number | null, NodeJS.Signals | null]>, limitMs: number): Promise<Ending> {
  const from = performance.now();
  child.kill("SIGTERM");
  const limit = setTimeout(() => killGroup(child.pid), limitMs);
  const [code, signal] = await exited;
  clearTimeout(limit);
  const tookMs = performance.now() - from;
  killGroup(child.pid);
  return { tookMs, ending: signal ? `signal ${signal}` : `exit ${code}` };
}

/** The worker leads a group of its own, so that nothing it started there outlives the bench. */
function killGroup(pid: number | undefined): void {
  try {
    if (pid) process.kill(-pid, "SIGKILL");
  } catch {
    // Nobody is left in it.
  }
}

function ownDir({ dir }: Programs, name: string): string {
  serial += 1;
  const own = join(dir, `${serial}-${name}`);
  mkdirSync(own, { recursive: true });
  return own;
}
