import type { Config } from "../config/schema/index.ts";
import type { MachineFacts } from "../machine/facts.ts";
import { checkDirectLogs } from "./direct-logs.ts";
import { createDraft, type Draft } from "./draft.ts";
import { planEngines } from "./engine-services.ts";
import { checkFiles } from "./files.ts";
import type { Launchers } from "./launch.ts";
import { launchedEngines } from "./needs.ts";
import { checkDependencies, startOrder } from "./order.ts";
import { orderPhases } from "./phases.ts";
import type { Plan, PlannedEngine, Service } from "./plan.ts";
import { checkPorts, type Listener } from "./ports.ts";
import { expectation } from "./service-rules.ts";
import { resolveSources } from "./sources.ts";
import { planUserServices, whyLeftOut } from "./user-services.ts";
import { planWorker, type WorkerOptions } from "./worker-service.ts";

export interface BuildOptions extends WorkerOptions {
  readonly profile: string;
  readonly launchers: Launchers;
  /** Folder with the bundled Python files. */
  readonly assetDir: string;
}

export interface Built {
  readonly plan: Plan;
  /** What the worker shall take jobs from: ports chosen, `auto` decided, off where a service of the user takes over. */
  readonly sources: Config["sources"];
}

/** Config and facts → Plan. Pure, so what `--dry-run` prints is what `start` runs. Throws what is impossible as FettleError. */
export function buildPlan(config: Config, facts: MachineFacts, options: BuildOptions): Built {
  const draft = createDraft(config, facts);
  const { services: engineServices, engines } = planEngines(draft, options);
  const sources = resolveSources(draft);
  const declared = [...engineServices, ...planUserServices(draft, options), ...planWorker(draft, sources, options)];
  const services = orderPhases(draft, withoutForeign(draft, declared, engines), draft.phases);
  checkDependencies(services, leftOut(draft));
  checkDirectLogs(services);
  checkFiles(services);
  checkPorts(listenersOf(draft, sources, engines));
  const plan: Plan = {
    profile: options.profile,
    announce: config.announce,
    warnings: draft.warnings,
    services,
    phases: draft.phases,
    engines,
    order: startOrder(services),
    stopBudgetMs: config.stop.budget,
    ...(config.expectSetup && { expectSetup: expectation(config.expectSetup) }),
  };
  return { plan, sources };
}

/** Nobody can wait for an engine that runs elsewhere: such a dependency is dropped, with a warning. */
function withoutForeign({ warnings }: Draft, services: readonly Service[], engines: readonly PlannedEngine[]): Service[] {
  const foreign = new Set(engines.filter(({ service }) => service === undefined).map(({ name }) => name));
  return services.map((service) => {
    const dropped = service.dependsOn.filter((one) => foreign.has(one.service));
    if (dropped.length === 0) return service;
    for (const one of dropped) warnings.push(`"${service.name}" does not wait for the engine "${one.service}", which is not started here.`);
    return { ...service, dependsOn: service.dependsOn.filter((one) => !foreign.has(one.service)) };
  });
}

function leftOut(draft: Draft): Map<string, string> {
  const { engines, services } = draft.config;
  const off = Object.entries(engines).flatMap(([name, { enabled }]): [string, string][] => (enabled ? [] : [[name, "it is not enabled"]]));
  const reasons = Object.entries(services).map(([name, service]): [string, string | undefined] => [name, whyLeftOut(draft, service)]);
  return new Map([...off, ...reasons.filter((pair): pair is [string, string] => pair[1] !== undefined)]);
}

function listenersOf({ config }: Draft, { http }: Config["sources"], engines: readonly PlannedEngine[]): Listener[] {
  return [
    ...(config.health.enabled ? [{ what: "the health server", port: config.health.port, path: "health.port" }] : []),
    ...(http?.enabled ? [{ what: "the job API", port: http.port, path: "sources.http.port" }] : []),
    ...(http?.enabled && http.healthPort !== "" && http.healthPort !== http.port
      ? [{ what: "/ping", port: http.healthPort, path: "sources.http.healthPort" }]
      : []),
    ...launchedEngines(config).map(([name]) => ({
      what: `the engine "${name}"`,
      port: Number(new URL(engines.find((engine) => engine.name === name)?.url ?? "").port),
      path: `engines.${name}.port`,
    })),
  ];
}
