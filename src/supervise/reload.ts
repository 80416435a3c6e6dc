import { isDeepStrictEqual } from "node:util";
import type { WorkerSettings } from "../control/protocol.ts";
import { FettleError } from "../errors/fettle-error.ts";
import type { EventBus } from "../events/bus.ts";
import { hookNames } from "../plan/phases.ts";
import type { Plan, Service } from "../plan/plan.ts";
import { comparePlans, type PlanChange } from "./compare-plans.ts";
import type { SupervisedService } from "./service.ts";
import { stopAll } from "./shutdown.ts";
import { type SignalWatch, watchHangup, watchTerminal } from "./signals.ts";

/** What the configuration says now. */
export interface Reloaded {
  readonly plan: Plan;
  readonly workerSettings?: WorkerSettings;
  /** What differs and cannot be changed while running, in words. */
  readonly warnings: readonly string[];
}

export interface ReloadOptions {
  readonly bus: EventBus;
  /** Throws when the configuration is not valid; then nothing changes. */
  read(): Promise<Reloaded>;
  readonly services: Map<string, SupervisedService>;
  current(): { readonly plan: Plan; readonly workerSettings?: WorkerSettings | undefined };
  /** The new plan holds from now on. */
  use(next: Reloaded): void;
  create(spec: Service): SupervisedService;
  /** The services of the new plan stand in their places. */
  placed(plan: Plan): void;
  /** It may be that now all are ready, or have ended. */
  changed(): void;
  isStopping(): boolean;
}

/** Reads the configuration again and brings the running services in line: only what changed is restarted. Reports as events, never throws. */
export async function reload(options: ReloadOptions): Promise<void> {
  const { bus, services } = options;
  let read: Reloaded;
  try {
    read = await options.read();
  } catch (error) {
    return void bus.emit({ type: "supervisor.reload-failed", ...failureOf(error) });
  }
  if (options.isStopping()) return;
  const before = options.current();
  const next = { ...read, plan: withoutLateHooks(before.plan, read.plan) };
  const compared = withWorker(comparePlans(before.plan, next.plan), before.workerSettings, next);
  const done = doneTasks(compared, next.plan, services);
  const change = { ...compared, changed: compared.changed.filter(({ service }) => !done.has(service)) };
  for (const message of next.warnings) bus.emit({ type: "supervisor.warned", message });
  for (const name of done) {
    const hint = `\`fettle service restart ${name}\` does it again.`;
    bus.emit({ type: "supervisor.warned", message: `${name} changed, but its part of the boot is done and is not repeated.`, hint });
  }
  bus.emit({ type: "supervisor.reloaded", ...change });
  options.use(next);
  const restarted = change.changed.map(({ service }) => service);
  // Whoever goes on learns first whom to wait for, so that nobody takes a restart, or an end that was asked for, for a failed dependency.
  for (const spec of next.plan.services) if (!services.has(spec.name)) services.set(spec.name, options.create(spec));
  options.placed(next.plan);
  const place = async (accepts: (name: string) => boolean) => {
    for (const spec of next.plan.services) if (accepts(spec.name) && !change.added.includes(spec.name)) await services.get(spec.name)?.adopt(spec);
  };
  await place((name) => !restarted.includes(name));
  const ending = [...change.removed, ...restarted].flatMap((name) => services.get(name) ?? []);
  // Each with its own grace, in the order of the graph; nothing is closed for good.
  await stopAll(
    ending.map((service) => ({ spec: service.spec, stop: () => service.stop({ comesBack: restarted.includes(service.name) }) })),
    Number.POSITIVE_INFINITY,
  );
  if (options.isStopping()) return;
  for (const name of change.removed) {
    const removed = services.get(name);
    services.delete(name);
    await removed?.output.close();
  }
  await place((name) => restarted.includes(name));
  if (options.isStopping()) return;
  for (const name of [...change.added, ...restarted]) services.get(name)?.start();
  options.changed();
}

/** A hook belongs to the boot that fettle was started with: one whose script appears later runs at the next start. */
function withoutLateHooks(before: Plan, after: Plan): Plan {
  const late = Object.values(hookNames).filter((hook) => !before.services.some(({ name }) => name === hook));
  const services = after.services
    .filter(({ name }) => !late.some((hook) => hook === name))
    .map((service) => ({ ...service, dependsOn: service.dependsOn.filter((one) => !late.some((hook) => hook === one.service)) }));
  return { ...after, services };
}

/**
 * Tasks of phases, and hooks, that are done: a reload repeats no part of the boot. Only what a service that is (re)started now
 * waits for by name is made anew: an engine's changed model, say.
 */
function doneTasks({ added, changed }: PlanChange, { services }: Plan, running: ReadonlyMap<string, SupervisedService>): ReadonlySet<string> {
  const names = changed.map(({ service }) => service);
  const hooks: readonly string[] = Object.values(hookNames);
  const isDone = ({ name, role, phase }: Service) => role === "task" && (phase !== undefined || hooks.includes(name)) && running.get(name)?.isOver === true;
  const done = new Set(services.filter((service) => names.includes(service.name) && isDone(service)).map(({ name }) => name));
  const starting = services.filter(({ name }) => added.includes(name) || (names.includes(name) && !done.has(name)));
  for (const { dependsOn } of starting) for (const { service, startOnly } of dependsOn) if (!startOnly) done.delete(service);
  return done;
}

/** The worker reads its settings once, when it starts. */
function withWorker(change: PlanChange, before: WorkerSettings | undefined, { plan, workerSettings }: Reloaded): PlanChange {
  const worker = plan.services.find(({ role }) => role === "worker")?.name;
  const isKnown = worker === undefined || change.added.includes(worker) || change.changed.some(({ service }) => service === worker);
  if (isKnown || isDeepStrictEqual(before, workerSettings)) return change;
  return { ...change, changed: [...change.changed, { service: worker, keys: ["its settings"] }] };
}

function failureOf(error: unknown): { readonly message: string; readonly hint?: string } {
  if (!(error instanceof FettleError)) return { message: String(error) };
  const place = error.where?.file === undefined ? "" : ` (${error.where.file}${error.where.line === undefined ? "" : `:${error.where.line}`})`;
  return { message: `${error.message}${place}`, ...(error.hint !== undefined && { hint: error.hint }) };
}

/** Several SIGHUPs while one is obeyed are one more. `onAlone`: it came because the terminal is gone. */
export function watchReload(read: unknown, run: () => Promise<void>, onAlone: () => void): SignalWatch | undefined {
  if (read === undefined) return undefined;
  const isAlone = watchTerminal();
  let wanted = false;
  let running: Promise<void> | undefined;
  const again = async () => {
    while (wanted) {
      wanted = false;
      await run();
    }
    running = undefined;
  };
  return watchHangup(() => {
    if (isAlone()) return onAlone();
    wanted = true;
    running ??= again();
  });
}
