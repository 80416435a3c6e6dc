import { resolve } from "node:path";
import type { HookConfig, PhaseConfig } from "../config/schema/index.ts";
import type { Draft } from "./draft.ts";
import { startOrder } from "./order.ts";
import type { Dependency, PlannedPhase, Service } from "./plan.ts";

/** The tasks of the user's scripts, by the name they have in the plan. */
export const hookNames = { preStart: "pre-start", postStart: "post-start" } as const;

/** The phases of the config in their order, numbered from 1. */
export function planPhases(phases: Readonly<Record<string, PhaseConfig>>): PlannedPhase[] {
  const names = Object.keys(phases);
  const planned = Object.entries(phases).map(([name, { title, target, onFailure, after }], index): PlannedPhase => {
    const former = names[index - 1];
    return {
      name,
      number: index + 1,
      title: title ?? name,
      onFailure,
      after: after ?? (former === undefined ? [] : [former]),
      ...(target !== undefined && { targetMs: target }),
    };
  });
  // Throws when phases wait for each other.
  startOrder(
    planned.map(({ name, after }) => ({ name, dependsOn: after.map((service) => ({ service, condition: "settled" })) })),
    (name) => `phases.${name}.after`,
  );
  return planned;
}

/** A failure of this service does not end the boot. */
export function isOptional(own: "exit" | "warn" | undefined, phase: string | undefined, phases: readonly PlannedPhase[]): boolean {
  return (own ?? phases.find(({ name }) => name === phase)?.onFailure) === "warn";
}

/**
 * Adds what the order of phases and the hooks imply: each member waits for the members of the phases before its own, everything
 * waits for pre-start, post-start waits for everything. These dependencies order the first start and nothing else.
 */
export function orderPhases(draft: Draft, services: readonly Service[], phases: readonly PlannedPhase[]): Service[] {
  const { preStart, postStart } = draft.config.hooks;
  const pre = planHook(draft, hookNames.preStart, preStart);
  const post = planHook(draft, hookNames.postStart, postStart);
  const ordered = services.map((service): Service => {
    const phase = phases.find(({ name }) => name === service.phase);
    const former = phase ? membersBefore(phase, phases, services) : [];
    const first = former.length === 0 && pre ? [pre] : former;
    return { ...service, dependsOn: [...service.dependsOn, ...first.map(startOnly)] };
  });
  const last = (ordered.length > 0 ? ordered : pre ? [pre] : []).map(startOnly);
  return [...(pre ? [pre] : []), ...ordered, ...(post ? [{ ...post, dependsOn: last }] : [])];
}

/** A phase without members is passed over: whoever comes after it waits for those before it. */
function membersBefore(phase: PlannedPhase, phases: readonly PlannedPhase[], services: readonly Service[]): Service[] {
  const members = phase.after.flatMap((name) => {
    const own = services.filter((service) => service.phase === name);
    const former = phases.find((one) => one.name === name);
    return own.length > 0 || !former ? own : membersBefore(former, phases, services);
  });
  return [...new Set(members)];
}

function startOnly({ name, optional, background }: Service): Dependency {
  return { service: name, condition: optional ? "settled" : background ? "started" : "ready", startOnly: true };
}

function planHook(draft: Draft, name: string, config: HookConfig | undefined): Service | undefined {
  if (config === undefined || !draft.facts.existing.has(config.path)) return undefined;
  return {
    name,
    role: "task",
    argv: [config.shell, config.path],
    env: {},
    dependsOn: [],
    restart: { policy: "never", firstMs: 0, factor: 1, maxMs: 0, resetAfterMs: 0, maxRestarts: 0, windowMs: 0 },
    essential: config.onFailure === "exit",
    ...(config.onFailure === "warn" && { optional: true }),
    ...(config.timeout > 0 && { timeLimitMs: config.timeout }),
    stop: { signal: "SIGTERM", graceMs: 2000 },
    console: true,
    ...draft.files(name),
    ...(config.logFile !== undefined && { logFile: resolve(draft.config.logDir, config.logFile) }),
  };
}
