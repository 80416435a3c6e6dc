import { resolve } from "node:path";
import type { Config } from "../config/schema/index.ts";
import type { Plan } from "../plan/plan.ts";
import type { WorkerSettings } from "./protocol.ts";

/** What the worker gets from the supervisor; `sources` are the plan's, with ports chosen and `auto` decided. */
export function workerSettings(config: Config, plan: Plan, sources: Config["sources"]): WorkerSettings {
  return {
    profile: plan.profile,
    stateDir: config.stateDir,
    runtimeDir: config.runtimeDir,
    sources,
    jobs: config.jobs,
    results: { ...config.results, python: config.results.python ?? pythonOf(config) },
    engines: plan.engines,
    stopBudgetMs: plan.stopBudgetMs,
  };
}

/** Where Pillow is: every engine that makes pictures in Python has it. */
export function pythonOf({ engines }: Config): string {
  const engine = Object.values(engines).find(({ url }) => url === undefined);
  const python = engine?.python ?? "python3";
  // A program with a slash is looked for where its engine runs.
  return engine && "directory" in engine && engine.directory !== undefined && python.includes("/") ? resolve(engine.directory, python) : python;
}
