import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config } from "../config/schema/index.ts";
import { socketName } from "../control/protocol.ts";
import { assetDirIn, unpackAssets } from "../engines/diffusers/unpack.ts";
import { kinds } from "../engines/index.ts";
import { FettleError } from "../errors/fettle-error.ts";
import { EventBus } from "../events/bus.ts";
import type { Log, LogFormat } from "../log/log.ts";
import { readFacts } from "../machine/facts.ts";
import { buildPlan } from "../plan/build-plan.ts";
import { factsNeeded } from "../plan/needs.ts";
import type { PlannedEngine } from "../plan/plan.ts";
import { describeEnding } from "../supervise/service-state.ts";
import { runSupervisor } from "../supervise/supervisor.ts";

export interface BootOptions {
  readonly config: Config;
  readonly profile: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
  readonly logFormat: LogFormat;
  /** Aborting stops everything; a boot that is not done then rejects with the signal's reason. */
  readonly signal: AbortSignal;
}

/** An engine of our own, alone; disposing it stops everything that was started. */
export interface BootedEngine extends AsyncDisposable {
  readonly engine: PlannedEngine;
  /** A folder of this run alone, gone with it. */
  readonly dir: string;
}

/** Boots the first engine of the config by the same plan as `start`, on a free port and with folders of its own; or only names it when it runs elsewhere. */
export async function bootEngine({ config: whole, profile, env, log, logFormat, signal }: BootOptions): Promise<BootedEngine> {
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
    const config = engineAlone(whole, dir);
    const assetRoot = join(config.stateDir, "assets");
    const facts = await readFacts(factsNeeded(config, kinds), { env });
    const { plan } = buildPlan(config, facts, { profile, launchers: kinds, assetDir: assetDirIn(assetRoot), selfArgv: [], logFormat, socketName });
    const [engine] = plan.engines;
    if (!engine)
      throw new FettleError("config.invalid", `Cannot generate: the profile ${profile} has no engine.`, { hint: "Name one that has, such as --profile demo." });
    if (plan.services.length > 0) {
      unpackAssets(assetRoot);
      const bus = new EventBus();
      const ready = untilReady(bus, engine.name, signal);
      running = runSupervisor(plan, { bus, log, logFormat, env, runtimeDir: dir, obeySignals: false, signal: stop.signal });
      await Promise.race([ready, running.then(() => ready)]);
    }
    return { engine, dir, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** No sources, no other services, one engine that is not started a second time: a fault must show at once. */
function engineAlone(config: Config, dir: string): Config {
  const first = Object.entries(config.engines).find(([, { enabled }]) => enabled);
  if (!first) return { ...config, engines: {}, services: {}, phases: {}, hooks: {}, sources: {} };
  const [name, engine] = first;
  const alone = { ...engine, port: 0, announce: undefined, phase: undefined, restart: { ...engine.restart, policy: "never" as const } };
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

/** Resolves when the engine is ready; rejects with what ended it, or one of the steps before it. */
function untilReady(bus: EventBus, name: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const spawned = new Set<string>();
    let lastLines: readonly string[] = [];
    const fail = (code: "supervise.spawn-failed" | "supervise.not-ready", service: string, reason: string, exitCode?: number) => {
      end();
      const options = { hint: hintOf(lastLines), details: { service, lastLines }, ...(exitCode !== undefined && { exitCode }) };
      reject(new FettleError(code, `Cannot start ${service}: ${reason}.`, options));
    };
    const end = bus.observe((event) => {
      if (event.type === "service.spawned") spawned.add(event.service);
      else if (event.type === "service.exited") {
        lastLines = event.lastLines.slice(-10);
        // 3 is what our own helpers end with when the machine lacks something.
        if (!event.wanted && event.service === name) fail("supervise.not-ready", name, describeEnding(event.ending), event.ending.code === 3 ? 3 : undefined);
      } else if (event.type === "service.ready" && event.service === name) {
        end();
        resolve();
      } else if (event.type === "service.failed")
        fail(spawned.has(event.service) ? "supervise.not-ready" : "supervise.spawn-failed", event.service, event.reason);
      else if (event.type === "service.crash-looping") fail("supervise.not-ready", event.service, "it keeps failing");
    });
    const onAbort = () => {
      end();
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

function hintOf(lastLines: readonly string[]): string {
  const last = lastLines.findLast((line) => line.trim() !== "");
  return last === undefined ? "Run `fettle doctor`; --log-level info shows what the engine prints." : `Its last line: ${last.trim()}`;
}
