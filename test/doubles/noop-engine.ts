/** Starts the no-op engine fixture as a real process on the runtime that runs the test, and speaks its test routes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export type NoopStats = {
  pid: number;
  started: number;
  finished: number;
  running: number;
  maxRunning: number;
  interrupts: number;
  readiness: number;
  /** By `noop.id`, else by prompt: how many times that job began and ended here. */
  prompts: Record<string, { started: number; finished: number }>;
};
export type NoopFact = Partial<Record<"started" | "finished" | "running" | "interrupts" | "readiness", number>>;

export type NoopEngine = Awaited<ReturnType<typeof startNoopEngine>>;

/** The command line of the fixture, for a config whose engine is launched by fettle itself. */
export function noopEngineArgv(...flags: string[]): string[] {
  const script = fileURLToPath(new URL("../fixtures/noop-engine.ts", import.meta.url));
  return [process.execPath, ...("deno" in process.versions ? ["run", "-A"] : []), script, ...flags];
}

/** `--hold`, `--serial`, `--not-ready`, `--image-bytes N`; resolves when it listens. */
export async function startNoopEngine(...flags: string[]) {
  const [command = "", ...args] = noopEngineArgv(...flags);
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout });
  const [line] = (await Promise.race([once(lines, "line"), exited.then(() => ["exited before it listened"])])) as [string];
  const port = Number(/^listening (\d+)$/.exec(line)?.[1]);
  if (!port) throw new Error(`The no-op engine said: ${line}`);
  const url = `http://127.0.0.1:${port}`;
  const ask = async (path: string, init?: RequestInit) => (await fetch(url + path, init)).json();
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await exited;
  };
  return {
    url,
    port,
    pid: child.pid ?? 0,
    exited,
    stats: () => ask("/stats") as Promise<NoopStats>,
    /** Resolves when each count has reached its number; `running` jobs are the ones in mid-run now. */
    waitFor: (fact: NoopFact, { signal }: { signal?: AbortSignal } = {}) =>
      ask(`/wait?${new URLSearchParams(Object.entries(fact).map(([name, value]): [string, string] => [name, String(value)]))}`, signal ? { signal } : {}),
    /** Ends held and delayed jobs: one by id, or all. */
    release: (id?: string) => ask("/release", { method: "POST", ...(id === undefined ? {} : { body: JSON.stringify({ id }) }) }),
    becomeReady: () => ask("/ready", { method: "POST" }),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
