/**
 * The two workers under comparison, each started as a user would start it and driven only through the platform's protocol.
 * The engine is the same external process for both and is ready before either starts.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { RunpodPlatform } from "../../test/doubles/runpod-platform.ts";

export type SideName = "fettle" | "sdk";
export type Programs = { fettle: string; python: string; dir: string };

export type Worker = {
  pid: number;
  startedAtMs: number;
  /** Sends SIGTERM; resolves with the milliseconds until the exit, and how it ended. */
  terminate: (limitMs: number) => Promise<{ tookMs: number; ending: string }>;
  logPath: string;
};

let serial = 0;

export async function startWorker(side: SideName, programs: Programs, platform: RunpodPlatform, engineUrl: string, concurrency: number): Promise<Worker> {
  serial += 1;
  const logPath = join(programs.dir, `${side}-${serial}.log`);
  const [command = "", ...args] = side === "fettle" ? await fettleArgv(programs, engineUrl, concurrency) : sdkArgv(programs);
  const extra: Record<string, string> =
    side === "fettle"
      ? {}
      : {
          BENCH_ENGINE_URL: engineUrl,
          BENCH_CONCURRENCY: String(concurrency),
          // Its own checks ask for a route to 8.8.8.8 and would end the worker on a machine without one.
          RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: "true",
          RUNPOD_SKIP_GPU_CHECK: "true",
        };
  const log = openSync(logPath, "w");
  const startedAtMs = performance.now();
  const child = spawn(command, args, { env: { ...process.env, ...platform.env(), ...extra }, stdio: ["ignore", log, log], detached: true });
  const exited = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  exited.catch(() => {});
  return { pid: child.pid ?? 0, startedAtMs, logPath, terminate: (limitMs) => terminate(child, exited, limitMs) };
}

async function terminate(child: ChildProcess, exited: Promise<[number | null, NodeJS.Signals | null]>, limitMs: number) {
  const from = performance.now();
  child.kill("SIGTERM");
  const limit = setTimeout(() => killGroup(child.pid), limitMs);
  const [code, signal] = await exited;
  clearTimeout(limit);
  const tookMs = performance.now() - from;
  killGroup(child.pid);
  return { tookMs, ending: signal ? `signal ${signal}` : `exit ${code}` };
}

/** The worker leads a group of its own, so that nothing it started outlives the bench. */
function killGroup(pid: number | undefined): void {
  try {
    if (pid) process.kill(-pid, "SIGKILL");
  } catch {
    // Nobody is left in it.
  }
}

async function fettleArgv(programs: Programs, engineUrl: string, concurrency: number): Promise<string[]> {
  const config = join(programs.dir, `fettle-${serial}.yaml`);
  await writeFile(
    config,
    `engines:
  noop: { kind: a1111, url: "${engineUrl}", slots: ${concurrency} }
sources:
  runpod:
    takeUrl: \${RUNPOD_WEBHOOK_GET_JOB}
    doneUrl: \${RUNPOD_WEBHOOK_POST_OUTPUT}
    pingUrl: \${RUNPOD_WEBHOOK_PING}
    apiKey: \${RUNPOD_AI_API_KEY}
    podId: \${RUNPOD_POD_ID}
    endpointId: \${RUNPOD_ENDPOINT_ID}
    concurrency: ${concurrency}
health: { port: 0 }
stateDir: ${programs.dir}/state-${serial}
logDir: ${programs.dir}/log-${serial}
runtimeDir: ${programs.dir}/run-${serial}
`,
  );
  const launcher = programs.fettle.endsWith(".ts") ? [process.execPath] : [];
  return [...launcher, programs.fettle, "start", "--config", config];
}

function sdkArgv(programs: Programs): string[] {
  return [programs.python, "-u", fileURLToPath(new URL("runpod_handler.py", import.meta.url))];
}
