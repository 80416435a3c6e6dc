import { configSchema } from "../../src/config/schema/index.ts";
import { loadConfig } from "../../src/config/load.ts";
import { kinds } from "../../src/engines/index.ts";
import type { MachineFacts } from "../../src/machine/facts.ts";
import { buildPlan, type Built } from "../../src/plan/build-plan.ts";

export const noFacts: MachineFacts = { existing: new Set(), freePorts: [], hasCuda: false };

const options = { launchers: kinds, assetDir: "/assets", selfArgv: ["/bin/fettle"], logFormat: "plain", socketName: "control.sock" } as const;

/** The plan of a built-in profile with facts of the test's choice. */
export function planOfProfile(
  profile: string,
  { facts = {}, env = {}, set = [] }: { facts?: Partial<MachineFacts>; env?: Record<string, string>; set?: string[] } = {},
): Built {
  const { config } = loadConfig({ profile, env, cwd: "/", uid: 0, flags: { set } });
  return buildPlan(config, { ...noFacts, ...facts }, { ...options, profile });
}

/** The plan of a config written in the test. */
export function planOf(config: unknown, facts: Partial<MachineFacts> = {}): Built {
  return buildPlan(configSchema.parse(config), { ...noFacts, ...facts }, { ...options, profile: "custom" });
}
