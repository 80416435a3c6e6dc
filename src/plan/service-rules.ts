import type { LimitsConfig, ServiceConfig } from "../config/schema/index.ts";
import type { Expectation, Limits, RestartRule, Service, StopRule } from "./plan.ts";

/** What engines and user services share, from the words of the config to those of the plan. */
export function commonRules(
  config: Pick<ServiceConfig, "announce" | "expect" | "user" | "restart" | "stop" | "console" | "log" | "phase" | "nice" | "oomScore" | "limits">,
): Pick<Service, "announce" | "expect" | "user" | "restart" | "stop" | "console" | "directLog" | "phase" | "nice" | "oomScore" | "limits"> {
  return {
    restart: restartRule(config.restart),
    stop: stopRule(config.stop),
    console: config.console && config.log === "pipe",
    ...(config.log === "direct" && { directLog: true }),
    ...(config.user !== undefined && { user: config.user }),
    ...(config.announce !== undefined && { announce: config.announce }),
    ...(config.expect && { expect: expectation(config.expect) }),
    ...(config.nice !== undefined && { nice: config.nice }),
    ...(config.oomScore !== undefined && { oomScore: config.oomScore }),
    ...(config.limits && { limits: limitsOf(config.limits) }),
    ...(config.phase !== undefined && { phase: config.phase }),
  };
}

export function expectation({ min, max }: { min?: number | undefined; max: number }): Expectation {
  return { ...(min !== undefined && { minMs: min }), maxMs: max };
}

/** Only what was given. */
function limitsOf(config: LimitsConfig): Limits {
  return Object.fromEntries(Object.entries(config).filter(([, limit]) => limit !== undefined)) as Limits;
}

function restartRule(config: ServiceConfig["restart"]): RestartRule {
  return {
    policy: config.policy,
    firstMs: config.first,
    factor: config.factor,
    maxMs: config.max,
    resetAfterMs: config.resetAfter,
    maxRestarts: config.maxRestarts,
    windowMs: config.window,
  };
}

function stopRule({ signal, grace }: ServiceConfig["stop"]): StopRule {
  return { signal, graceMs: grace };
}

/** A step of an engine is tried again once: another process may have made the same thing at the same moment. */
export const taskRestart: RestartRule = { policy: "on-failure", firstMs: 500, factor: 2, maxMs: 5000, resetAfterMs: 30_000, maxRestarts: 1, windowMs: 60_000 };

/** The worker comes back at once: its jobs are in the journal and its engines are warm. */
export const workerRestart: RestartRule = {
  policy: "always",
  firstMs: 100,
  factor: 2,
  maxMs: 10_000,
  resetAfterMs: 30_000,
  maxRestarts: 10,
  windowMs: 300_000,
};
