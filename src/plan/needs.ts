import { join } from "node:path";
import type { Config, EngineConfig } from "../config/schema/index.ts";
import type { FactNeeds } from "../machine/facts.ts";
import { type Launchers, launcherOf } from "./launch.ts";

/** The engines that this config launches itself, by name, in its order. */
export function launchedEngines(config: Config): [string, EngineConfig][] {
  return Object.entries(config.engines).filter(([, engine]) => engine.enabled && engine.url === undefined);
}

/** Where fettle keeps models that it made itself. */
export function modelsDirOf(config: Pick<Config, "stateDir">): string {
  return join(config.stateDir, "models");
}

/** What must be known of the machine before this config can be planned; nothing else is asked. */
export function factsNeeded(config: Config, launchers: Launchers): FactNeeds {
  const engines = launchedEngines(config).map(([, engine]) => engine);
  const services = Object.values(config.services).filter(({ enabled }) => enabled);
  const { http } = config.sources;
  const ports = [...engines.flatMap(({ port, replicas }) => Array<number>(copies(replicas)).fill(port)), ...(http?.enabled ? [http.port] : [])];
  return {
    tcmalloc: [...engines, ...services].some(({ allocator }) => allocator === "tcmalloc"),
    gpus: [...engines, ...services].some(({ replicas }) => replicas === "gpu"),
    libraries: [...engines, ...services].flatMap(({ preload }) => preload),
    paths: [
      ...[config.hooks.preStart, config.hooks.postStart].flatMap((hook) => (hook ? [hook.path] : [])),
      ...services.flatMap(({ onlyIfExists }) => (onlyIfExists === undefined ? [] : [onlyIfExists])),
      ...engines.flatMap((engine) => launcherOf(launchers, engine).paths?.(engine, { modelsDir: modelsDirOf(config) }) ?? []),
    ],
    freePorts: ports.filter((port) => port === 0).length,
  };
}

/** How many GPUs there are is not known yet; nobody has more in one machine. */
const copies = (replicas: "gpu" | number | undefined): number => (replicas === "gpu" ? 16 : (replicas ?? 1));
