import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Plan } from "../../src/plan/plan.ts";
import { fixture, program, type Rig } from "./rig.ts";

/** A supervisor in a process of its own. */
export interface SpawnedSupervisor {
  readonly process: ChildProcess;
  readonly pid: number;
  readonly runtimeDir: string;
  /** `{ code, signal }` of its end. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface SpawnOptions {
  /** Words before the program, such as unshare's; the pid is then that program's. */
  readonly prefix?: readonly string[];
  /** Another program than the fixture. */
  readonly argv?: readonly string[];
}

export function spawnSupervisor(rig: Rig, plan: Plan, { prefix = [], argv }: SpawnOptions = {}): SpawnedSupervisor {
  const file = join(rig.dir, "plan.json");
  writeFileSync(file, JSON.stringify(plan));
  const runtimeDir = join(rig.dir, "run");
  const [command = "", ...args] = [...prefix, ...(argv ?? program(fixture("supervisor.ts"), file, runtimeDir))];
  const child = spawn(command, args, { stdio: ["ignore", "inherit", "ignore"], detached: true });
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) =>
    child.once("exit", (code, signal) => resolve({ code, signal })),
  );
  return {
    process: child,
    pid: child.pid ?? 0,
    runtimeDir,
    ended,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
