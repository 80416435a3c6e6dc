import type { ServiceConfig } from "../config/schema/index.ts";
import type { Draft } from "./draft.ts";
import { isOptional } from "./phases.ts";
import type { Dependency, Service } from "./plan.ts";
import { livenessOf, probeOf } from "./probe.ts";
import { processEnv } from "./process-env.ts";
import { commonRules } from "./service-rules.ts";
import { programOfSteps, stepsOf } from "./step.ts";
import type { WorkerOptions } from "./worker-service.ts";

/** Why a declared service is not part of the plan; undefined when it is. */
export function whyLeftOut({ facts }: Pick<Draft, "facts">, { enabled, onlyIfExists, onlyIfSet }: ServiceConfig): string | undefined {
  if (!enabled) return "it is not enabled";
  if (onlyIfSet === "") return "its onlyIfSet is empty";
  return onlyIfExists === undefined || facts.existing.has(onlyIfExists) ? undefined : `${onlyIfExists} does not exist`;
}

export function planUserServices(draft: Draft, options: Pick<WorkerOptions, "selfArgv" | "socketName">): Service[] {
  return Object.entries(draft.config.services)
    .filter(([, config]) => whyLeftOut(draft, config) === undefined)
    .map(([name, config]) => {
      const isTask = config.task || config.steps !== undefined;
      return {
        name,
        role: isTask ? "task" : "service",
        ...programOf(draft, { ...config, env: { ...processEnv(draft, name, config), ...config.env } }, options),
        ...(config.cwd !== undefined && { cwd: config.cwd }),
        dependsOn: Object.entries(config.dependsOn).map(([service, condition]) => dependency(service, condition)),
        ...(config.readiness && { readiness: probeOf(config.readiness) }),
        ...(config.liveness && { liveness: livenessOf(config.liveness) }),
        essential: config.essential,
        ...commonRules(config),
        ...(isOptional(config.onFailure, config.phase, draft.phases) && { optional: true }),
        ...(config.background && { background: true }),
        ...(isTask && config.timeout > 0 && { timeLimitMs: config.timeout }),
        ...draft.files(name, config),
        // A task that always started again would never be done.
        ...(isTask && config.restart.policy === "always" && { restart: { ...commonRules(config).restart, policy: "on-failure" } }),
      };
    });
}

function dependency(service: string, condition: ServiceConfig["dependsOn"][string]): Dependency {
  return typeof condition === "string" ? { service, condition } : { service, condition: "log-line", pattern: condition.logLine };
}

/** The user's command; or this program itself, which carries out the steps. */
function programOf(
  { config }: Draft,
  { command, extraArgs, env, steps }: ServiceConfig,
  { selfArgv, socketName }: Pick<WorkerOptions, "selfArgv" | "socketName">,
): Pick<Service, "argv" | "env" | "steps"> {
  if (steps === undefined) return { argv: [...(command ?? []), ...extraArgs], env };
  return programOfSteps(steps.flatMap(stepsOf), { selfArgv, socketName, runtimeDir: config.runtimeDir, env });
}
