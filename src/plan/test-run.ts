import { join } from "node:path";
import type { Config, EngineConfig } from "../config/schema/index.ts";

export interface TestRun {
  /** The job, an absolute path. */
  readonly path: string;
  /** Run it again after each change of it, or of these files and folders; undefined: once, and the end. */
  readonly watch?: readonly string[];
  /** For everything that this run writes; it must not meet an instance that runs here. */
  readonly dir: string;
}

const longestStopMs = 2000;

/** The config for a job out of a file: no other source, no port of fettle's own, and a fault of an engine shows at once. */
export function useTestRun(config: Config, run: TestRun | undefined): Config {
  if (!run) return config;
  const { path, watch, dir } = run;
  // A tiny model is made once in a minute and then kept.
  const keepsState = Object.values(config.engines).some((engine) => engine.enabled && engine.kind === "diffusers" && engine.tinyModel);
  const engines = Object.entries(config.engines).map(([name, engine]) => [name, watch ? reloading(engine) : strict(engine)] as const);
  return {
    ...config,
    engines: Object.fromEntries(engines),
    sources: { file: { enabled: true, path, exitWhenDone: watch === undefined, watch: [...(watch ?? [])] } },
    // An engine that cannot start must not keep the job waiting.
    stop: { ...config.stop, budget: Math.min(config.stop.budget, longestStopMs) },
    health: { ...config.health, enabled: false },
    runtimeDir: join(dir, "run"),
    logDir: join(dir, "log"),
    stateDir: keepsState ? config.stateDir : join(dir, "state"),
  };
}

function strict(engine: EngineConfig): EngineConfig {
  return { ...engine, essential: true, restart: { ...engine.restart, policy: "never" } };
}

function reloading(engine: EngineConfig): EngineConfig {
  return engine.kind === "python" ? { ...engine, reload: true } : engine;
}
