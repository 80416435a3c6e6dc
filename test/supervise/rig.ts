/**
 * The rig: a socket that fixture services phone home to. The test decides when a child prints, becomes ready or exits, and waits for facts.
 * Closing it ends every fixture that is still there.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { EventBus } from "../../src/events/bus.ts";
import type { FettleEvent, StampedEvent } from "../../src/events/event.ts";
import { createLog } from "../../src/log/log.ts";
import type { Plan, Service } from "../../src/plan/plan.ts";
import type { ProbeTarget } from "../../src/plan/probe-spec.ts";
import { readProcess } from "../../src/supervise/process-table.ts";
import { runSupervisor, type SupervisorOptions } from "../../src/supervise/supervisor.ts";
import { createFacts } from "../doubles/facts.ts";

/** One start of a fixture. */
export interface Caller {
  readonly name: string;
  readonly pid: number;
  readonly cwd: string;
  readonly uid: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  isGone: boolean;
  signals: string[];
  /** Resolves when the fixture has done it (or is gone). */
  order(what: object): Promise<void>;
}

export interface Rig {
  readonly dir: string;
  /** Everything in the order it was heard: "a up", "a SIGTERM", "a gone". */
  readonly story: string[];
  readonly callers: Caller[];
  /** Resolves with the nth start (from 1) of that fixture. */
  started(name: string, nth?: number): Promise<Caller>;
  /** Something that `until` may look at has changed. */
  changed(): void;
  until<T>(what: string, look: () => T | undefined): Promise<T>;
  service(name: string, more?: Partial<Service>): Service;
  plan(services: readonly Service[], more?: Partial<Plan>): Plan;
  run(plan: Plan, more?: Partial<SupervisorOptions>): Running;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface Running {
  readonly events: StampedEvent[];
  /** What went to the container's log. */
  readonly lines: string[];
  readonly exitCode: Promise<number>;
  readonly bus: EventBus;
  event<T extends FettleEvent["type"]>(type: T, service?: string, nth?: number): Promise<Extract<StampedEvent, { type: T }>>;
  stop(): Promise<number>;
}

export const fixture = (name: string): string => join(import.meta.dirname, "../fixtures", name);
/** argv of a TypeScript program under the runtime that runs the test. */
export const program = (path: string, ...args: string[]): string[] => [
  process.execPath,
  ...(process.versions["deno"] === undefined ? [] : ["run", "-A"]),
  path,
  ...args,
];
export const quick = { periodMs: 20, timeoutMs: 5000, startupMs: 60_000, logEvery: 0 };
export const ready = (target: ProbeTarget) => ({ readiness: { ...target, ...quick } });

export async function createRig(): Promise<Rig> {
  const dir = mkdtempSync(join(tmpdir(), "fettle-rig-"));
  const socketPath = join(dir, "rig.sock");
  const callers: Caller[] = [];
  const story: string[] = [];
  const sockets = new Set<Socket>();
  const facts = createFacts(() => `The story so far: ${story.join(", ")}`);
  const deadline = AbortSignal.timeout(30_000);
  const until: Rig["until"] = (what, look) => facts.until(what, look, { signal: deadline });
  const server = createServer((socket) => {
    sockets.add(socket);
    let caller: Caller | undefined;
    const done: (() => void)[] = [];
    const gone = () => {
      if (!caller || caller.isGone) return;
      caller.isGone = true;
      story.push(`${caller.name} gone`);
      for (const resolve of done.splice(0)) resolve();
      facts.changed();
    };
    socket.on("error", gone).on("close", gone);
    createInterface({ input: socket }).on("line", (line) => {
      const fact = JSON.parse(line) as { name?: string; signal?: string };
      if (fact.name !== undefined) {
        const order = (what: object) =>
          new Promise<void>((resolve) => {
            done.push(resolve);
            socket.write(`${JSON.stringify(what)}\n`);
          });
        caller = { isGone: false, signals: [], order, ...(fact as Pick<Caller, "name" | "pid" | "cwd" | "uid" | "env">) };
        callers.push(caller);
        story.push(`${caller.name} up`);
      } else if (fact.signal !== undefined) {
        caller?.signals.push(fact.signal);
        story.push(`${caller?.name} ${fact.signal}`);
      } else done.shift()?.();
      facts.changed();
    });
  });
  await new Promise<void>((resolve) => void server.listen(socketPath, resolve));
  const running: Running[] = [];
  const rig: Rig = {
    dir,
    story,
    callers,
    changed: facts.changed,
    until,
    started: (name, nth = 1) => until(`start ${nth} of ${name}`, () => callers.filter((one) => one.name === name)[nth - 1]),
    service: (name, more = {}) => ({
      name,
      role: "service",
      argv: program(fixture("service.ts"), name),
      env: { RIG_SOCKET: socketPath, ...more.env },
      dependsOn: [],
      restart: { policy: "always", firstMs: 20, factor: 1, maxMs: 20, resetAfterMs: 60_000, maxRestarts: 3, windowMs: 60_000 },
      essential: false,
      stop: { signal: "SIGTERM", graceMs: 20_000 },
      logFile: join(dir, "log", `${name}.log`),
      pidFile: join(dir, "run", `${name}.pid`),
      console: false,
      ...Object.fromEntries(Object.entries(more).filter(([key]) => key !== "env")),
    }),
    plan: (services, more = {}) => ({
      profile: "test",
      announce: [],
      warnings: [],
      services,
      phases: [],
      engines: [],
      order: [],
      stopBudgetMs: 20_000,
      ...more,
    }),
    run(plan, more = {}) {
      const one = start(plan, { runtimeDir: join(dir, "run"), ...more }, until, facts.changed);
      running.push(one);
      return one;
    },
    async [Symbol.asyncDispose]() {
      for (const { isGone, pid } of callers) if (!isGone) endProcess(pid);
      await Promise.allSettled(running.map((one) => one.stop()));
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
      rmSync(dir, { recursive: true, force: true });
    },
  };
  mkdirSync(join(dir, "files"));
  return rig;
}

function start(plan: Plan, more: Partial<SupervisorOptions> & { runtimeDir: string }, until: Rig["until"], changed: () => void): Running {
  const bus = new EventBus();
  const events: StampedEvent[] = [];
  const lines: string[] = [];
  const stop = new AbortController();
  bus.observe((event) => {
    events.push(event);
    changed();
  });
  const write = (text: string) => {
    lines.push(...text.replace(/\n$/, "").split("\n"));
    changed();
  };
  const log = createLog({ format: "plain", level: "debug", write });
  const exitCode = runSupervisor(plan, { bus, log, logFormat: "plain", env: process.env, obeySignals: false, signal: stop.signal, write, ...more });
  exitCode.catch(() => undefined);
  return {
    events,
    lines,
    exitCode,
    bus,
    event: (type, service, nth = 1) => {
      const look = () => events.filter((one) => one.type === type && (service === undefined || ("service" in one && one.service === service)))[nth - 1];
      return until(`event ${type} of ${service ?? "any"}`, look) as Promise<never>;
    },
    stop() {
      stop.abort();
      return exitCode;
    },
  };
}

export function endProcess(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}

/** A zombie whose parent does not look is not alive. */
export function isAlive(pid: number): boolean {
  const row = readProcess(pid);
  return row !== undefined && row.state !== "Z";
}
