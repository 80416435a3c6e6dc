import type { Config } from "../config/schema/index.ts";
import type { MachineFacts } from "../machine/facts.ts";
import { buildPlan } from "./build-plan.ts";
import type { Launchers } from "./launch.ts";
import { factsNeeded } from "./needs.ts";

/**
 * Throws what makes this config impossible on every machine (cycles, missing dependencies, files and ports that two want): plans it
 * for a machine that has whatever is asked for. Pure.
 */
export function rehearsePlan(config: Config, { profile, launchers }: { readonly profile: string; readonly launchers: Launchers }): void {
  const needs = factsNeeded(config, launchers);
  const facts: MachineFacts = {
    existing: new Set(needs.paths),
    freePorts: unusedPorts(config, needs.freePorts),
    hasCuda: true,
    gpus: ["0"],
  };
  buildPlan(elsewhere(config), facts, { profile, launchers, assetDir: "/", selfArgv: ["fettle"], logFormat: "plain", socketName: "control.sock" });
}

/** RunPod's addresses come with its machines only. */
function elsewhere(config: Config): Config {
  const { runpod } = config.sources;
  return runpod ? { ...config, sources: { ...config.sources, runpod: { ...runpod, takeUrl: runpod.takeUrl || "http://runpod.invalid/" } } } : config;
}

/** Stand-ins for ports that the system would choose; one that the config names as well would look like a clash. */
function unusedPorts({ engines, sources, health }: Config, count: number): number[] {
  const named = new Set([...Object.values(engines).map(({ port }) => port), sources.http?.port, health.port]);
  return Array.from({ length: count + named.size + 64 }, (_, index) => 65_535 - index)
    .filter((port) => !named.has(port))
    .slice(0, count);
}
