import { isDeepStrictEqual } from "node:util";
import type { WorkerSettings } from "../control/protocol.ts";
import { FettleError } from "../errors/fettle-error.ts";
import type { EventBus } from "../events/bus.ts";
import type { Plan, Service } from "../plan/plan.ts";
import { comparePlans, type PlanChange } from "./compare-plans.ts";
import type { SupervisedService } from "./service.ts";
import { stopAll } from "./shutdown.ts";

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
  isStopping(): boolean;
}

/** Reads the configuration again and brings the running services in line: only what changed is restarted. Reports as events, never throws. */
export async function reload(options: ReloadOptions): Promise<void> {
  const { bus, services } = options;
  let next: Reloaded;
  try {
    next = await options.read();
  } catch (error) {
    return void bus.emit({ type: "supervisor.reload-failed", ...failureOf(error) });
  }
  if (options.isStopping()) return;
  const before = options.current();
  const change = withWorker(comparePlans(before.plan, next.plan), before.workerSettings, next);
  for (const warning of next.warnings) bus.emit({ type: "supervisor.warned", message: warning });
  bus.emit({ type: "supervisor.reloaded", ...change });
  options.use(next);
  const restarted = change.changed.map(({ service }) => service);
  const ending = [...change.removed, ...restarted].flatMap((name) => services.get(name) ?? []);
  // Each with its own grace, in the order of the graph; nothing is closed for good.
  await stopAll(
    ending.map((service) => ({ spec: service.spec, stop: () => service.stop() })),
    Number.POSITIVE_INFINITY,
  );
  if (options.isStopping()) return;
  for (const name of change.removed) {
    await services.get(name)?.output.close();
    services.delete(name);
  }
  for (const spec of next.plan.services) {
    const known = services.get(spec.name);
    if (known) await known.adopt(spec);
    else services.set(spec.name, options.create(spec));
  }
  options.placed(next.plan);
  if (options.isStopping()) return;
  for (const name of [...change.added, ...restarted]) services.get(name)?.start();
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
