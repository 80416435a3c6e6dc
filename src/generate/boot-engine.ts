import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config } from "../config/schema/index.ts";
import { socketName } from "../control/protocol.ts";
import { assetDirIn, unpackAssets } from "../engines/diffusers/unpack.ts";
import { kinds } from "../engines/index.ts";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { EventBus } from "../events/bus.ts";
import type { Log, LogFormat } from "../log/log.ts";
import { readFacts } from "../machine/facts.ts";
import { buildPlan } from "../plan/build-plan.ts";
import { factsNeeded } from "../plan/needs.ts";
import type { PlannedEngine } from "../plan/plan.ts";
import { describeEnding } from "../supervise/service-state.ts";
import { runSupervisor } from "../supervise/supervisor.ts";
import { selfArgv } from "../util/self-argv.ts";

export interface BootOptions {
  readonly config: Config;
  readonly profile: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
  readonly logFormat: LogFormat;
  /** True: an engine that had been ready is started again when it ends, for the jobs that are still to come. */
  readonly keepAlive: boolean;
  /** Aborting stops everything; a boot that is not done then rejects with the signal's reason. */
  readonly signal: AbortSignal;
}

/** An engine of our own, alone; disposing it stops everything that was started. */
export interface BootedEngine extends AsyncDisposable {
  readonly engine: PlannedEngine;
  /** False: it runs elsewhere, and only its address is known. */
  readonly isOwn: boolean;
  /** Resolves at once while it is ready; rejects with what ended it for good, or with the signal's reason. */
  untilReady(options: { signal: AbortSignal }): Promise<void>;
}

/** Boots the first engine of the config by the same plan as `start`, on a free port and with folders of its own; or only names it when it runs elsewhere. */
export async function bootEngine({ config: whole, profile, env, log, logFormat, keepAlive, signal }: BootOptions): Promise<BootedEngine> {
  const dir = mkdtempSync(join(tmpdir(), "fettle-generate-"));
  const stop = new AbortController();
  const onAbort = () => stop.abort();
  signal.addEventListener("abort", onAbort, { once: true });
  let running: Promise<number> | undefined;
  const dispose = async () => {
    stop.abort();
    signal.removeEventListener("abort", onAbort);
    await running?.catch(() => undefined);
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    const config = engineAlone(whole, dir, keepAlive);
    const assetRoot = join(config.stateDir, "assets");
    const facts = await readFacts(factsNeeded(config, kinds), { env });
    const { plan } = buildPlan(config, facts, { profile, launchers: kinds, assetDir: assetDirIn(assetRoot), selfArgv: selfArgv(), logFormat, socketName });
    const [engine] = plan.engines;
    if (!engine)
      throw new FettleError("config.invalid", `Cannot generate: the profile ${profile} has no engine.`, { hint: "Name one that has, such as --profile demo." });
    if (plan.services.length === 0) return { engine, isOwn: false, untilReady: async () => undefined, [Symbol.asyncDispose]: dispose };
    unpackAssets(assetRoot);
    const bus = new EventBus();
    const life = watchEngine(bus, engine.name, { keepAlive });
    running = runSupervisor(plan, { bus, log, logFormat, env, runtimeDir: dir, obeySignals: false, signal: stop.signal });
    running.then(
      () => life.onEnd(),
      (error: unknown) => life.onEnd(error),
    );
    await life.untilReady({ signal });
    return { engine, isOwn: true, untilReady: life.untilReady, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** No sources, no other services, one engine that (for one job) is not started a second time: a fault must show at once. */
function engineAlone(config: Config, dir: string, keepAlive: boolean): Config {
  const first = Object.entries(config.engines).find(([, { enabled }]) => enabled);
  if (!first) return { ...config, engines: {}, services: {}, phases: {}, hooks: {}, sources: {} };
  const [name, engine] = first;
  const alone = {
    ...engine,
    port: 0,
    announce: undefined,
    phase: undefined,
    restart: { ...engine.restart, policy: keepAlive ? ("always" as const) : ("never" as const) },
  };
  return {
    ...config,
    announce: [],
    engines: { [name]: alone },
    services: {},
    phases: {},
    hooks: {},
    sources: {},
    health: { ...config.health, enabled: false },
    runtimeDir: dir,
    logDir: dir,
  };
}

interface EngineLife {
  untilReady(options: { signal: AbortSignal }): Promise<void>;
  /** The supervisor has ended; `error`: it could not begin. */
  onEnd(error?: unknown): void;
}

/**
 * Follows the engine by the supervisor's events. Until it was ready once, its end (or that of a step before it) is the end;
 * later it may come back.
 *
 *   waiting ──► ready ◄──► away
 *      └─────────┴──────────┴──► gone (with the reason)
 */
function watchEngine(bus: EventBus, name: string, { keepAlive }: { keepAlive: boolean }): EngineLife {
  const spawned = new Set<string>();
  let lastLines: readonly string[] = [];
  let state: "waiting" | "ready" | "away" | FettleError = "waiting";
  const waiters = new Set<() => void>();
  const become = (next: typeof state) => {
    if (state instanceof FettleError) return;
    state = next;
    for (const look of waiters) look();
  };
  const fail = (code: "supervise.spawn-failed" | "supervise.not-ready", service: string, reason: string, exitCode?: number) => {
    const options = { hint: hintOf(lastLines), details: { service, lastLines }, ...(exitCode !== undefined && { exitCode }) };
    become(new FettleError(code, `Cannot ${state === "waiting" ? "start" : "keep"} ${service}${state === "waiting" ? "" : " running"}: ${reason}.`, options));
  };
  const wasReady = () => state === "ready" || state === "away";
  bus.observe((event) => {
    if (event.type === "service.spawned") spawned.add(event.service);
    else if (event.type === "service.exited") {
      lastLines = event.lastLines.slice(-10);
      if (event.wanted || event.service !== name) return;
      if (wasReady() && keepAlive) become("away");
      // 3 is what our own helpers end with when the machine lacks something.
      else fail("supervise.not-ready", name, describeEnding(event.ending), event.ending.code === 3 ? 3 : undefined);
    } else if (event.type === "service.ready" && event.service === name) become("ready");
    else if (event.type === "service.unready" && event.service === name && wasReady()) become("away");
    else if (event.type === "service.failed") fail(spawned.has(event.service) ? "supervise.not-ready" : "supervise.spawn-failed", event.service, event.reason);
    else if (event.type === "service.crash-looping") fail("supervise.not-ready", event.service, "it keeps failing");
  });
  return {
    onEnd: (error) =>
      error instanceof FettleError ? become(error) : fail("supervise.not-ready", name, error === undefined ? "it was stopped" : reasonOf(error)),
    untilReady: ({ signal }) =>
      new Promise((resolve, reject) => {
        const end = (settle: () => void) => {
          waiters.delete(look);
          signal.removeEventListener("abort", look);
          settle();
        };
        const look = () => {
          if (signal.aborted) end(() => reject(signal.reason as Error));
          else if (state === "ready") end(resolve);
          else if (state instanceof FettleError) end(() => reject(state as FettleError));
        };
        waiters.add(look);
        signal.addEventListener("abort", look, { once: true });
        look();
      }),
  };
}

function hintOf(lastLines: readonly string[]): string {
  const last = lastLines.findLast((line) => line.trim() !== "");
  return last === undefined ? "Run `fettle doctor`; --log-level info shows what the engine prints." : `Its last line: ${last.trim()}`;
}
