import { join } from "node:path";
import type { LoadedConfig } from "../src/config/load.ts";
import type { Config } from "../src/config/schema/index.ts";
import { socketName, type WorkerSettings } from "../src/control/protocol.ts";
import { workerSettings } from "../src/control/worker-settings.ts";
import { assetDirIn, unpackAssets } from "../src/engines/diffusers/unpack.ts";
import { kinds } from "../src/engines/index.ts";
import { type LogFormat, resolveFormat } from "../src/log/log.ts";
import { type MachineFacts, readFacts } from "../src/machine/facts.ts";
import { buildPlan } from "../src/plan/build-plan.ts";
import { useEngineAt } from "../src/plan/engine-at.ts";
import { useTestRun } from "../src/plan/test-run.ts";
import { factsNeeded } from "../src/plan/needs.ts";
import type { Plan } from "../src/plan/plan.ts";
import type { Reloaded } from "../src/supervise/reload.ts";
import { selfArgv } from "../src/util/self-argv.ts";
import { type Args, type Io, textFlag } from "./command.ts";
import { testRunOf } from "./test-input.ts";
import { loadFromArgs, located } from "./load-config.ts";

/** Everything `start` decides before it starts anything. */
export interface ResolvedStart {
  readonly loaded: LoadedConfig;
  readonly config: Config;
  readonly facts: MachineFacts;
  readonly plan: Plan;
  readonly settings: WorkerSettings;
  readonly logFormat: LogFormat;
  readonly assetRoot: string;
}

/** Reads the configuration and the machine and plans. `former`: what stood before a reload, whose chosen ports are kept. */
export async function resolveStart(args: Args, io: Io, former?: { readonly facts: Pick<MachineFacts, "freePorts"> }): Promise<ResolvedStart> {
  const loaded = loadFromArgs(args, io);
  const config = useTestRun(useEngineAt(loaded.config, textFlag(args, "engineUrl")), testRunOf(args, io, loaded.config));
  const known = former?.facts.freePorts ?? [];
  const needs = factsNeeded(config, kinds);
  const read = await readFacts({ ...needs, freePorts: Math.max(0, needs.freePorts - known.length) }, { env: { ...io.env, ...loaded.fileEnv } });
  const facts = { ...read, freePorts: [...known, ...read.freePorts] };
  const { runpod } = config.sources;
  const onRunpod = runpod !== undefined && runpod.enabled !== false && runpod.endpointId !== "";
  const logFormat = resolveFormat(config.log.format, { onRunpod });
  const assetRoot = join(config.stateDir, "assets");
  const { plan: built, sources } = located(loaded, () =>
    buildPlan(config, facts, {
      profile: loaded.profile,
      launchers: kinds,
      assetDir: assetDirIn(assetRoot),
      selfArgv: selfArgv(),
      logFormat,
      socketName,
    }),
  );
  const plan = { ...built, services: built.services.map((service) => ({ ...service, env: { ...loaded.fileEnv, ...service.env } })) };
  return { loaded, config, facts, plan, settings: workerSettings(config, plan, sources), logFormat, assetRoot };
}

/** What `start` knew before a reload. */
export interface Former {
  readonly config: Config;
  readonly facts: Pick<MachineFacts, "freePorts">;
  /** Masked in the log; those of the new configuration are added before anything of it is printed. */
  readonly secrets: string[];
}

/** What the files and flags that `start` was given say now. */
export async function reloadStart(args: Args, io: Io, former: Former): Promise<Reloaded> {
  const next = await resolveStart(args, io, former);
  former.secrets.push(...next.loaded.secrets);
  unpackAssets(next.assetRoot);
  return { plan: next.plan, workerSettings: next.settings, warnings: [...next.loaded.warnings, ...unchangeable(former.config, next.config)] };
}

/** Keys that a reload cannot change in a running fettle. */
const fixedKeys = ["runtimeDir", "stateDir", "health", "log", "announce"] as const;

/** What a reload leaves as it was, in words for the log. */
function unchangeable(before: Config, after: Config): string[] {
  const changed = fixedKeys.filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]));
  return changed.length === 0 ? [] : [`${changed.join(", ")} changed; that takes effect at the next start.`];
}
