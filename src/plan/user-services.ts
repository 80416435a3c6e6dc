import type { ServiceConfig } from "../config/schema/index.ts";
import type { Draft } from "./draft.ts";
import type { Service } from "./plan.ts";
import { probeOf } from "./probe.ts";
import { commonRules } from "./service-rules.ts";

/** Why a declared service is not part of the plan; undefined when it is. */
export function whyLeftOut({ facts }: Pick<Draft, "facts">, { enabled, onlyIfExists }: ServiceConfig): string | undefined {
  if (!enabled) return "it is not enabled";
  return onlyIfExists === undefined || facts.existing.has(onlyIfExists) ? undefined : `${onlyIfExists} does not exist`;
}

export function planUserServices(draft: Draft): Service[] {
  return Object.entries(draft.config.services)
    .filter(([, config]) => whyLeftOut(draft, config) === undefined)
    .map(([name, config]) => ({
      name,
      role: config.task ? "task" : "service",
      argv: [...config.command, ...config.extraArgs],
      ...(config.cwd !== undefined && { cwd: config.cwd }),
      env: config.env,
      dependsOn: Object.entries(config.dependsOn).map(([service, condition]) => ({ service, condition })),
      ...(config.readiness && { readiness: probeOf(config.readiness) }),
      essential: config.essential,
      ...commonRules(config),
      ...draft.files(name),
      // A task that always started again would never be done.
      ...(config.task && config.restart.policy === "always" && { restart: { ...commonRules(config).restart, policy: "on-failure" } }),
    }));
}
