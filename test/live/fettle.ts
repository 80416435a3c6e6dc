import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connectControl } from "../../src/control/client.ts";
import type { Snapshot, StampedEvent } from "../../src/control/protocol.ts";
import { pause } from "../../src/util/pause.ts";
import { createFacts } from "../doubles/facts.ts";

export const binary = fileURLToPath(new URL("../../dist/fettle", import.meta.url));

export interface Wish {
  /** The configuration, as JSON is YAML; folders and ports are added. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly args?: readonly string[];
  /** Of a former instance: its journal is taken up. */
  readonly stateDir?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Another one than dist/fettle. */
  readonly program?: string;
}

export interface JobReply {
  readonly id: string;
  readonly status: string;
  readonly output?: { readonly images: readonly string[]; readonly parameters: Record<string, unknown>; readonly info: string };
  readonly error?: string;
  readonly errorCode?: string;
  readonly retries?: number;
  readonly executionTime?: number;
}

export interface Fettle {
  readonly dir: string;
  readonly stateDir: string;
  readonly pid: number;
  readonly exited: Promise<number | null>;
  snapshot(): Promise<Snapshot>;
  /** The first such event after number `since` (default 0), past or to come. */
  event<T extends StampedEvent["type"]>(
    type: T,
    wanted?: (event: Extract<StampedEvent, { type: T }>) => boolean,
    since?: number,
  ): Promise<Extract<StampedEvent, { type: T }>>;
  /** The number of the newest event: what comes after it is new. */
  now(): number;
  servicePid(name: string): Promise<number>;
  ask(method: "GET" | "POST", path: string, body?: unknown): Promise<JobReply>;
  stop(): Promise<number | null>;
  log(): string;
}

/** The compiled binary as the container's CMD, in folders of its own, on ports of its own. */
export async function startFettle({ config, args = [], stateDir, env: more = {}, program = binary }: Wish): Promise<Fettle> {
  const dir = mkdtempSync(join(tmpdir(), "fettle-live-"));
  const state = stateDir ?? join(dir, "state");
  mkdirSync(state, { recursive: true });
  const file = join(dir, "fettle.yaml");
  const own = { log: { level: "debug", format: "plain" }, stateDir: state, logDir: join(dir, "log"), runtimeDir: join(dir, "run"), health: { enabled: false } };
  writeFileSync(file, JSON.stringify({ version: 1, ...own, ...config }));
  const env = { ...process.env, FETTLE_HANDLER: "false", OMP_NUM_THREADS: process.env["OMP_NUM_THREADS"] ?? "1", ...more };
  const child = spawn(program, ["start", "--config", file, ...args], { cwd: dir, env, stdio: ["ignore", "ignore", "pipe"] });
  return await follow(child, { dir, stateDir: state });
}

async function follow(child: ChildProcess, { dir, stateDir }: { dir: string; stateDir: string }): Promise<Fettle> {
  let log = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-200_000)));
  const events: StampedEvent[] = [];
  const facts = createFacts(() => log.slice(-6000));
  const exited = once(child, "exit").then(([code]) => code as number | null);
  const gone = new AbortController();
  void exited.then(() => gone.abort());
  // When the tests themselves break off.
  process.once("exit", () => child.exitCode ?? child.kill("SIGTERM"));
  const control = connectControl(join(dir, "run", "control.sock"));
  void (async () => {
    while (!gone.signal.aborted) {
      try {
        for await (const event of control.events(events.at(-1)?.seq ?? 0, { signal: gone.signal })) {
          events.push(event);
          facts.changed();
        }
      } catch {
        // It does not listen yet.
      }
      await pause(50, { signal: gone.signal });
    }
  })();
  const limit = () => AbortSignal.any([AbortSignal.timeout(240_000), gone.signal]);
  const snapshot = () => control.snapshot({ signal: limit() });
  const fettle: Fettle = {
    dir,
    stateDir,
    pid: child.pid ?? 0,
    exited,
    snapshot,
    event: (type, wanted = () => true, since = 0) =>
      facts.until(
        `the event ${type}`,
        () => events.find((event): event is Extract<StampedEvent, { type: typeof type }> => event.seq > since && event.type === type && wanted(event as never)),
        { signal: limit() },
      ),
    now: () => events.at(-1)?.seq ?? 0,
    servicePid: async (name) => (await snapshot()).services.find((service) => service.name === name)?.pid ?? 0,
    async ask(method, path, body) {
      const url = (await snapshot()).jobApi;
      if (!url) throw new Error("There is no job API yet.");
      const response = await fetch(url + path, { method, ...(body !== undefined && { body: JSON.stringify(body) }), signal: AbortSignal.timeout(240_000) });
      return (await response.json()) as JobReply;
    },
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      return await exited;
    },
    log: () => log,
  };
  return fettle;
}
