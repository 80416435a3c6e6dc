/** One start of one supervisor with its services, watched through the events that the services themselves write down. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { processTree } from "./memory.ts";
import type { BenchService, Launch } from "./supervise-sides.ts";

export interface Fact {
  readonly name: string;
  readonly what: string;
  readonly pid: number;
  /** Wall clock, ms with three decimals. */
  readonly atMs: number;
}

export const nowMs = (): number => performance.timeOrigin + performance.now();
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class Session {
  readonly startedMs: number;
  readonly #root: ChildProcess;
  readonly #eventsPath: string;
  readonly #dir: string;
  readonly #services: readonly BenchService[];
  /** In a PID namespace of its own: the pids that the services write down mean nothing here. */
  readonly #isolated: boolean;
  endedMs: number | undefined;

  constructor({ argv, env }: Launch, services: readonly BenchService[], dir: string, prefix: readonly string[] = []) {
    const [command = "", ...args] = [...prefix, ...argv];
    this.#eventsPath = join(dir, "events");
    this.#dir = dir;
    this.#services = services;
    this.#isolated = prefix.length > 0;
    closeSync(openSync(this.#eventsPath, "a"));
    const log = openSync(join(dir, "supervisor.out"), "a");
    this.startedMs = nowMs();
    this.#root = spawn(command, args, { stdio: ["ignore", log, log], env: { ...process.env, ...env, [markerName]: dir }, cwd: dir, detached: true });
    this.#root.once("exit", () => (this.endedMs = nowMs()));
    this.#root.once("error", () => (this.endedMs = nowMs()));
    closeSync(log);
  }

  get pid(): number {
    return this.#root.pid ?? 0;
  }

  get facts(): Fact[] {
    const rows = readFileSync(this.#eventsPath, "utf8").split("\n").slice(0, -1);
    return rows.map((row) => {
      const [name = "", what = "", pid, atMs] = row.split(" ");
      return { name, what, pid: Number(pid), atMs: Number(atMs) };
    });
  }

  /** Looks every 3 ms; undefined when it does not come in time, or the supervisor is gone before it came. */
  async until<T>(look: () => T | undefined, limitMs: number, { mustRun = false } = {}): Promise<T | undefined> {
    const endMs = performance.now() + limitMs;
    for (;;) {
      const found = look();
      if (found !== undefined || performance.now() > endMs || (mustRun && this.endedMs !== undefined)) return found;
      await pause(3);
    }
  }

  /** ms from the launch until the last service accepted connections. */
  async servingMs(limitMs = 30_000): Promise<number> {
    const size = { seen: -1 };
    const last = await this.until(
      () => {
        const bytes = statSync(this.#eventsPath).size;
        if (bytes === size.seen) return undefined;
        size.seen = bytes;
        const serving = this.facts.filter(({ what }) => what === "serving");
        return new Set(serving.map(({ name }) => name)).size === this.#services.length ? Math.max(...serving.map(({ atMs }) => atMs)) : undefined;
      },
      limitMs,
      { mustRun: true },
    );
    return last === undefined ? Number.POSITIVE_INFINITY : last - this.startedMs;
  }

  pidOf(name: string): number | undefined {
    return this.facts.findLast((fact) => fact.name === name && fact.what === "start")?.pid;
  }

  /** pids of services that are alive. */
  alive(): number[] {
    if (this.#isolated) return processTree(this.pid).slice(1).filter(isAlive);
    const pids = new Set(this.facts.filter(({ what }) => what === "start").map(({ pid }) => pid));
    return [...pids].filter(isAlive);
  }

  /** The supervisor's own processes: its tree without the services. */
  own(): number[] {
    const services = new Set(this.facts.map(({ pid }) => pid));
    return processTree(this.pid).filter((pid) => !services.has(pid));
  }

  /** ms from SIGTERM until the supervisor and all services are gone. */
  async stopMs(limitMs: number): Promise<number> {
    const from = nowMs();
    process.kill(this.pid, "SIGTERM");
    const end = await this.until(() => (this.endedMs !== undefined && this.alive().length === 0 ? nowMs() : undefined), limitMs);
    const lastMs = Math.max(this.endedMs ?? 0, ...this.facts.filter(({ what }) => what === "gone").map(({ atMs }) => atMs));
    return end === undefined ? Number.POSITIVE_INFINITY : lastMs - from;
  }

  /** How many services were told to stop while one that depends on them was still there. */
  violations(): number {
    const { facts } = this;
    return this.#services.filter(({ name, after }) => {
      const gone = facts.findLast((fact) => fact.name === name && fact.what === "gone");
      const told = facts.find((fact) => fact.name === after?.name && fact.what === "term");
      return gone && told && told.atMs < gone.atMs;
    }).length;
  }

  /** How many services were started before the one they depend on served. */
  early(): number {
    const { facts } = this;
    const at = (name: string | undefined, what: string) => facts.find((fact) => fact.name === name && fact.what === what)?.atMs ?? Number.POSITIVE_INFINITY;
    return this.#services.filter(({ name, after }) => after && at(name, "start") < at(after.name, "serving")).length;
  }

  /** Ends whatever is left, without ceremony: also what outlived a supervisor that was killed and starts services anew. */
  async destroy(): Promise<void> {
    await this.until(() => {
      const left = marked(this.#dir);
      for (const pid of left) endNow(pid);
      return left.length === 0 ? true : undefined;
    }, 5000);
  }
}

/** In the environment of all that a session starts. */
const markerName = "FETTLE_BENCH_SESSION";

/** Living processes that carry the marker. */
function marked(dir: string): number[] {
  return readdirSync("/proc").flatMap((entry) => {
    const pid = Number(entry);
    try {
      return pid > 0 && readFileSync(`/proc/${pid}/environ`, "latin1").includes(`${markerName}=${dir}\0`) ? [pid] : [];
    } catch {
      return [];
    }
  });
}

export function endNow(pid: number): void {
  try {
    if (pid > 1) process.kill(pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}

export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat[stat.lastIndexOf(")") + 2] !== "Z";
  } catch {
    return false;
  }
}

/** A log with what its rotation put beside it; for a folder, all that is in it. */
export function logFiles(path: string): string[] {
  if (existsSync(path) && statSync(path).isDirectory()) return readdirSync(path).map((name) => join(path, name));
  const folder = dirname(path);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .map((name) => join(folder, name))
    .filter((file) => file.startsWith(path));
}
