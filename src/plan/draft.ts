import { join } from "node:path";
import type { Config } from "../config/schema/index.ts";
import type { MachineFacts } from "../machine/facts.ts";
import type { Service } from "./plan.ts";

/** What the parts of the plan share while it is built. */
export interface Draft {
  readonly config: Config;
  readonly facts: MachineFacts;
  readonly warnings: string[];
  /** The port as configured, or the next free one when that is 0. */
  port(configured: number): number;
  files(service: string): Pick<Service, "logFile" | "pidFile">;
}

export function createDraft(config: Config, facts: MachineFacts): Draft {
  const free = [...facts.freePorts];
  return {
    config,
    facts,
    warnings: [],
    port(configured) {
      if (configured !== 0) return configured;
      const port = free.shift();
      if (port === undefined) throw new Error("the plan needs more free ports than factsNeeded() counted");
      return port;
    },
    files: (service) => ({ logFile: join(config.logDir, `${service}.log`), pidFile: join(config.runtimeDir, `${service}.pid`) }),
  };
}
