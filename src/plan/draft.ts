import { resolve } from "node:path";
import type { Config } from "../config/schema/index.ts";
import type { MachineFacts } from "../machine/facts.ts";
import { planPhases } from "./phases.ts";
import { expandReplicas } from "./replicas.ts";
import type { PlannedPhase, Service } from "./plan.ts";

/** What the parts of the plan share while it is built. */
export interface Draft {
  readonly config: Config;
  readonly facts: MachineFacts;
  readonly warnings: string[];
  readonly phases: readonly PlannedPhase[];
  /** The GPU that a copy for each GPU was given. */
  gpuOf(service: string): number | undefined;
  /** The port as configured, or the next free one when that is 0. */
  port(configured: number): number;
  /** Its log and PID file: where its config says, or by its name. */
  files(service: string, own?: { readonly logFile?: string | undefined; readonly pidFile?: string | undefined }): Pick<Service, "logFile" | "pidFile">;
}

export function createDraft(declared: Config, facts: MachineFacts): Draft {
  const { config, gpuOf, warnings } = expandReplicas(declared, facts.gpus ?? []);
  const free = [...facts.freePorts];
  return {
    config,
    facts,
    warnings: [...warnings],
    gpuOf: (service) => gpuOf.get(service),
    phases: planPhases(config.phases),
    port(configured) {
      if (configured !== 0) return configured;
      const port = free.shift();
      if (port === undefined) throw new Error("the plan needs more free ports than factsNeeded() counted");
      return port;
    },
    files: (service, { logFile = `${service}.log`, pidFile = `${service}.pid` } = {}) => ({
      logFile: resolve(config.logDir, logFile),
      pidFile: resolve(config.runtimeDir, pidFile),
    }),
  };
}
