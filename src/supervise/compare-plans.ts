import { isDeepStrictEqual } from "node:util";
import type { Plan, Service } from "../plan/plan.ts";

/** What a new plan changes for the services that run. */
export interface PlanChange {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** Only these must be restarted; `keys` are what differs, without values, which may be secret. */
  readonly changed: readonly { readonly service: string; readonly keys: readonly string[] }[];
}

/** These apply to a running child as they are. */
const liveKeys: readonly string[] = [
  "dependsOn",
  "restart",
  "essential",
  "stop",
  "expect",
  "announce",
  "phase",
  "optional",
  "background",
] satisfies (keyof Service)[];

/** Two plans of one machine. A service whose child would be started in the very same way is not named. */
export function comparePlans(before: Plan, after: Plan): PlanChange {
  const old = new Map(before.services.map((service) => [service.name, service]));
  const names = new Set(after.services.map(({ name }) => name));
  return {
    added: after.services.flatMap(({ name }) => (old.has(name) ? [] : [name])),
    removed: before.services.flatMap(({ name }) => (names.has(name) ? [] : [name])),
    changed: after.services.flatMap((service) => {
      const keys = differences(old.get(service.name) ?? service, service);
      return keys.length > 0 ? [{ service: service.name, keys }] : [];
    }),
  };
}

function differences(before: Service, after: Service): string[] {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((key) => !liveKeys.includes(key)) as (keyof Service)[];
  return keys
    .filter((key) => !isDeepStrictEqual(before[key], after[key]))
    .flatMap((key) => (key === "env" ? changedVariables(before.env, after.env).map((name) => `env.${name}`) : [key]));
}

function changedVariables(before: Service["env"], after: Service["env"]): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((name) => before[name] !== after[name]);
}
