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
    results: config.results,
    engines: plan.engines,
    stopBudgetMs: plan.stopBudgetMs,
  };
}
