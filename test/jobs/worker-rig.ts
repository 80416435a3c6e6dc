/** A whole worker in the test's process: real sources, journal, pool and server; engine and supervisor stand in the test's hands. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ControlClient } from "../../src/control/client.ts";
import type { Snapshot, WorkerSettings } from "../../src/control/protocol.ts";
import type { Engine } from "../../src/engines/engine.ts";
import type { FettleEvent, StampedEvent } from "../../src/events/event.ts";
import { prepareJournalPlace } from "../../src/jobs/journal-place.ts";
import { Journal } from "../../src/jobs/journal.ts";
import type { JobRecord } from "../../src/jobs/record.ts";
import { createLog } from "../../src/log/log.ts";
import { runWorker, type WorkerOptions } from "../../src/worker/worker.ts";
import { createFacts } from "../doubles/facts.ts";
import { usualResults } from "../fixtures/usual-results.ts";

export function limit(ms = 20_000): { signal: AbortSignal } {
  return { signal: AbortSignal.timeout(ms) };
}

export function runpodConfig(env: Record<string, string>): NonNullable<WorkerSettings["sources"]["runpod"]> {
  return {
    enabled: true,
    takeUrl: env["RUNPOD_WEBHOOK_GET_JOB"] ?? "",
    doneUrl: env["RUNPOD_WEBHOOK_POST_OUTPUT"] ?? "",
    pingUrl: env["RUNPOD_WEBHOOK_PING"] ?? "",
    apiKey: env["RUNPOD_AI_API_KEY"] ?? "",
    podId: env["RUNPOD_POD_ID"] ?? "",
    gpuTypeId: env["RUNPOD_GPU_TYPE_ID"] ?? "",
    endpointId: env["RUNPOD_ENDPOINT_ID"] ?? "",
    pingInterval: Number(env["RUNPOD_PING_INTERVAL"]),
    concurrency: 1,
    takeWhen: "ready",
    streamUrl: env["RUNPOD_WEBHOOK_POST_STREAM"] ?? "",
    pollTimeout: 95_000,
    answerTimeout: 30_000,
    maxResult: undefined,
    progressInterval: 2000,
    refreshWorker: false,
    fitness: {
      enabled: true,
      skipSystem: false,
      skipGpu: false,
      minMemoryGb: 4,
      minDiskPercent: 10,
      minCuda: "11.8",
      network: false,
      networkTimeoutSeconds: 5,
    },
  };
}

export function httpConfig(): NonNullable<WorkerSettings["sources"]["http"]> {
  return {
    enabled: true,
    listen: "127.0.0.1",
    port: 0,
    healthPort: "",
    apiKey: "",
    allowUnauthenticated: false,
    allowOrigins: [],
    allowHosts: [],
    maxBody: 100_000_000,
    maxQueue: 1000,
    concurrency: 1,
    takeWhen: "always",
    webhook: { url: "", secret: "", retryFor: 86_400_000, timeout: 30_000, perHost: 2, allowPrivate: true, allowHosts: [] },
  };
}

export interface RigOptions {
  readonly sources: WorkerSettings["sources"];
  readonly jobs?: Partial<WorkerSettings["jobs"]>;
  /** By default a fresh folder that goes with the rig. */
  readonly stateDir?: string;
  readonly stopBudgetMs?: number;
  readonly checkFitness?: WorkerOptions["checkFitness"];
  /** What outputs go through; none by default. */
  readonly steps?: WorkerOptions["steps"];
  /** The engine is a service of the supervisor: it is ready when the test says so. */
  readonly engineIsService?: boolean;
}

export async function startRig(engine: Engine, options: RigOptions) {
  const stateDir = options.stateDir ?? mkdtempSync(join(tmpdir(), "fettle-worker-"));
  const stop = new AbortController();
  const events: FettleEvent[] = [];
  const lines: string[] = [];
  const ends: { readonly exitCode: number; readonly reason: string }[] = [];
  const restarts: string[] = [];
  const facts = createFacts(() => lines.join("\n"));
  let seq = 0;
  const feed = new EventTarget();
  const control: ControlClient = {
    snapshot: () => Promise.reject(new Error("not asked")),
    workerSettings: () => Promise.reject(new Error("not asked")),
    async *events(_since, { signal } = {}) {
      const queue: StampedEvent[] = [];
      let wake = () => {};
      feed.addEventListener("event", (event) => {
        queue.push((event as CustomEvent<StampedEvent>).detail);
        wake();
      });
      signal?.addEventListener("abort", () => wake());
      for (;;) {
        if (signal?.aborted) return;
        const next = queue.shift();
        if (next) yield next;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    },
    async report(batch) {
      events.push(...batch);
      facts.changed();
    },
    async restart(service) {
      restarts.push(service);
      facts.changed();
      return { name: service, role: "engine", state: "starting", restarts: restarts.length };
    },
    async end(wish) {
      ends.push(wish);
      facts.changed();
    },
    stop: () => Promise.reject(new Error("not asked")),
    logs: () => {
      throw new Error("not asked");
    },
  };
  const planned = {
    name: engine.name,
    kind: engine.kind,
    url: "http://engine.test",
    slots: engine.slots,
    ...(options.engineIsService && { service: engine.name }),
    readiness: { type: "http" as const, url: "", periodMs: 5, timeoutMs: 1000, startupMs: 0, logEvery: 15 },
  };
  const settings: WorkerSettings = {
    profile: "test",
    stateDir,
    runtimeDir: stateDir,
    sources: options.sources,
    jobs: {
      timeout: 600_000,
      retry: { tries: 10, backoff: 1 },
      deadline: 3_600_000,
      stall: 300_000,
      loading: 600_000,
      letGo: 20_000,
      dialect: "auto",
      unknownKeys: "warn",
      allowCalls: [],
      allowPaths: false,
      inputs: { urls: true, maxBytes: 32_000_000, maxFiles: 16, maxPixels: 67_108_864, timeout: 30_000, allowPrivate: false, allowHosts: [] },
      maxInput: 100_000_000,
      maxDepth: 64,
      blackImages: "fail",
      batching: { enabled: false, maxSize: 4, maxWait: 50 },
      responseCache: { enabled: false, maxSize: 1_000_000, maxEntries: 10 },
      keepResults: 1_800_000,
      maxLosses: 3,
      ...options.jobs,
    },
    results: usualResults,
    engines: [planned],
    stopBudgetMs: options.stopBudgetMs ?? 8000,
  };
  const snapshot = { seq: 0, engines: [{ name: engine.name, kind: engine.kind, url: planned.url, ready: false }] } as unknown as Snapshot;
  const log = createLog({
    format: "plain",
    level: "debug",
    write: (line) => {
      lines.push(line.trimEnd());
      facts.changed();
    },
  });
  const ended = runWorker({
    control,
    settings,
    snapshot,
    log,
    connect: () => engine,
    steps: options.steps ?? [],
    stop: stop.signal,
    ...(options.checkFitness && { checkFitness: options.checkFitness }),
  });
  ended.then(facts.changed, facts.changed);
  const shutDown = async () => {
    stop.abort();
    return await ended;
  };
  return {
    stateDir,
    lines,
    ended,
    /** How the worker wished the container to end. */
    ends,
    /** The services that the worker asked the supervisor to restart. */
    restarts,
    /** Ends the worker, whose journal nobody else can read, and gives the record of a job. */
    async recordOf(source: string, id: string): Promise<JobRecord> {
      await shutDown();
      const journal = await Journal.open(prepareJournalPlace(stateDir), { ...limit(), onWarning: () => {} });
      const record = journal.find(source, id)?.record;
      journal.close();
      return JSON.parse(record ?? "null") as JobRecord;
    },
    untilRestart: (count = 1) => facts.until(`${count} restarts`, () => restarts[count - 1], limit()),
    /** Every event the worker reported so far. */
    events,
    untilEvent: (isIt: (event: FettleEvent) => boolean) => facts.until("an event", () => events.find(isIt), limit()),
    /** The first line of the worker's log that matches. */
    untilLine: (pattern: RegExp) => facts.until(`a line like ${pattern}`, () => lines.find((line) => pattern.test(line)), limit()),
    untilListening: () => facts.until("an address", () => /Jobs are taken at (\S+)/.exec(lines.join("\n"))?.[1], limit()),
    /** So many follow /events now. */
    untilReaders: (count: number) =>
      facts.until(
        `${count} readers`,
        () => (/Readers of .events: (\d+)\.(?![^]*Readers of)/.exec(lines.join("\n"))?.[1] === String(count) ? true : undefined),
        limit(),
      ),
    /** Says something about a service, as the supervisor would. */
    tell: (event: FettleEvent) => void feed.dispatchEvent(new CustomEvent("event", { detail: { ...event, seq: ++seq, atMs: 0, time: "" } })),
    shutDown,
    async [Symbol.asyncDispose]() {
      await shutDown().catch(() => {});
      if (options.stateDir === undefined) rmSync(stateDir, { recursive: true, force: true });
    },
  };
}
