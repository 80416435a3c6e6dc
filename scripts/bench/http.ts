/**
 * How long the worker's event loop stands still while four results of 15 MB go through it at once: from the engine, checked, journalled,
 * and out over the job API. The worker runs in this process, engine and callers in their own. By the wall clock a busy machine also counts
 * the time in which the kernel ran somebody else; Linux tells how long this thread stood in its waiting list, and `ownMs` is without that.
 * What computes or waits for a disk stays in. Beside it stands the CPU time that the thread used.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { connectorOf } from "../../src/engines/index.ts";
import { createAnswerReader } from "../../src/results/answer-reader.ts";
import { startNoopEngine } from "../../test/doubles/noop-engine.ts";
import { httpConfig, startRig } from "../../test/jobs/worker-rig.ts";

export interface StallReport {
  readonly waves: number;
  readonly wallMs: { readonly max: number; readonly p99: number };
  readonly ownMs: { readonly max: number; readonly p99: number };
  readonly cpuMs: { readonly max: number; readonly p99: number };
  /** The same loop with nothing to do, just before. */
  readonly idleWallMs: number;
  readonly stalls: readonly Turn[];
}

interface Turn {
  readonly wallMs: number;
  readonly ownMs: number;
  readonly cpuMs: number;
}

const bytes = 15_000_000;

export async function benchHttp(waves: number): Promise<StallReport> {
  await using engine = await startNoopEngine();
  const connect = connectorOf("diffusers");
  if (!connect) throw new Error("There is no connector for diffusers.");
  const options = {
    timeoutMs: 600_000,
    retry: { tries: 1, backoffMs: 100 },
    readAnswer: (attempt: never) => createAnswerReader(attempt, { blackImages: "fail" }),
  };
  const connected = connect({ name: "noop", url: engine.url, slots: 4 }, options as never);
  await using rig = await startRig(connected, { sources: { http: { ...httpConfig(), concurrency: 4 } } });
  const url = await rig.untilListening();
  await callers(url, 1);
  const idle = await watching(() => new Promise((resolve) => setTimeout(resolve, 1000)));
  const turns = await watching(() => callers(url, waves));
  const at = (of: (turn: Turn) => number, share: number) =>
    turns.map(of).toSorted((a, b) => a - b)[Math.min(turns.length - 1, Math.floor(share * turns.length))] ?? 0;
  return {
    waves,
    wallMs: { max: at(({ wallMs }) => wallMs, 1), p99: at(({ wallMs }) => wallMs, 0.99) },
    ownMs: { max: at(({ ownMs }) => ownMs, 1), p99: at(({ ownMs }) => ownMs, 0.99) },
    cpuMs: { max: at(({ cpuMs }) => cpuMs, 1), p99: at(({ cpuMs }) => cpuMs, 0.99) },
    idleWallMs: Math.max(...idle.map(({ wallMs }) => wallMs)),
    stalls: turns
      .filter(({ wallMs }) => wallMs > 10)
      .toSorted((a, b) => b.wallMs - a.wallMs)
      .slice(0, 10),
  };
}

async function callers(url: string, waves: number): Promise<void> {
  const child = spawn(process.execPath, [fileURLToPath(new URL("http-client.ts", import.meta.url)), url, String(waves), String(bytes)], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  const [code] = (await once(child, "exit")) as [number | null];
  if (code !== 0) throw new Error(`The callers ended with ${code}.`);
}

/** Every turn of the loop while the work goes on, asked for each millisecond; the millisecond itself is taken off. */
async function watching(work: () => Promise<unknown>): Promise<Turn[]> {
  const turns: Turn[] = [];
  let [wall, waited, cpu] = [performance.now(), waitedMs(), threadCpuMs()];
  const timer = setInterval(() => {
    const [nowWall, nowWaited, nowCpu] = [performance.now(), waitedMs(), threadCpuMs()];
    const wallMs = Math.max(0, nowWall - wall - 1);
    turns.push({ wallMs, ownMs: Math.max(0, wallMs - (nowWaited - waited)), cpuMs: nowCpu - cpu });
    [wall, waited, cpu] = [nowWall, nowWaited, nowCpu];
  }, 1);
  await work();
  clearInterval(timer);
  return turns;
}

function threadCpuMs(): number {
  const usage = (process as unknown as { threadCpuUsage?: () => { user: number; system: number } }).threadCpuUsage?.();
  return usage ? (usage.user + usage.system) / 1000 : Number.NaN;
}

/** How long this thread could have run but did not; 0 where the kernel does not count it. */
function waitedMs(): number {
  try {
    return Number(readFileSync("/proc/thread-self/schedstat", "utf8").split(" ")[1]) / 1e6;
  } catch {
    return 0;
  }
}
