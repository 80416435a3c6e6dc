import type { Service } from "../plan/plan.ts";
import { markerName } from "./surroundings.ts";
import type { Identity } from "./user.ts";

/** These act on any Bun-made binary, this one included when it runs as the worker. */
const notInherited = ["BUN_OPTIONS", "BUN_BE_BUN"];

/** fettle's own environment as children may inherit it. */
export function inheritedEnv(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined && !notInherited.includes(entry[0]));
  return Object.fromEntries(kept);
}

/** A service's whole environment: inherited, then the user's own home and name, then the plan's; null removes. */
export function serviceEnv(inherited: Readonly<Record<string, string>>, service: Service, instance: string, identity?: Identity): Record<string, string> {
  const env: Record<string, string> = { ...inherited };
  if (identity?.home !== undefined) env["HOME"] = identity.home;
  if (identity?.name !== undefined) env["USER"] = env["LOGNAME"] = identity.name;
  for (const [name, value] of Object.entries(service.env)) {
    if (value === null) delete env[name];
    else env[name] = value;
  }
  if (service.steps) env["FETTLE_STEPS"] = JSON.stringify(service.steps);
  env[markerName] = `${instance}:${service.name}`;
  return env;
}
