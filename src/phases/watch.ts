// phases/ owns the boot as a person sees it: phases with targets and verdicts, what they took in earlier boots, their report,
// and the built-in steps of tasks (steps/). Takes: a Plan and the stream of events. Gives: phase events, the verdict that ends a
// boot, lines, timeline.json. Must not know how services are run: the order itself stands in the plan, as dependencies.
import type { FettleEvent, StampedEvent } from "../events/event.ts";
import { hookNames } from "../plan/phases.ts";
import type { Plan, PlannedPhase, Service } from "../plan/plan.ts";
import { describeEnding } from "../supervise/service-state.ts";

export interface PhaseWatch {
  apply(event: StampedEvent): void;
  /** After a reload: a phase that is not done has these members now. What is done stays done. */
  use(plan: Plan): void;
  /** Resolves when a member that must not fail has failed; then everything has to stop. */
  readonly failure: Promise<{ readonly reason: string; readonly exitCode: number }>;
  /** No more events, no more deadlines. */
  end(): void;
}

export interface WatchOptions {
  emit(event: FettleEvent): void;
  /** What a phase took in earlier boots, in ms. */
  readonly usualMs?: ReadonlyMap<string, number>;
}

/** A boot that a phase ended has this exit code (seed 002). */
const failedBoot = 1;

type Outcome = { readonly id: "pending" } | { readonly id: "fine" } | { readonly id: "failed" };

interface Watched {
  readonly phase: PlannedPhase;
  readonly members: Map<string, Outcome>;
  startedMs?: number;
  isDone: boolean;
}

/**
 *    waiting ── the phases before it are done ──▶ running ── every member is fine, or failed and optional ──▶ completed
 *                                                    └───── a member that must not fail failed ─────────────▶ failed (exit code 1)
 *
 * An optional member counts as failed at its first failure; the supervisor may go on to restart it. Any other is given
 * its restarts, but no more time than the startup budget of its readiness probe, counted from its first start.
 */
export function createPhaseWatch(plan: Plan, { emit, usualMs }: WatchOptions): PhaseWatch {
  let services = byName(plan);
  let watched = plan.phases.map((phase): Watched => ({ phase, members: membersOf(plan, phase), isDone: false }));
  const verdict = Promise.withResolvers<{ reason: string; exitCode: number }>();
  const deadlines = new Map<string, NodeJS.Timeout>();
  const lastLines = new Map<string, string>();
  let processStartedMs = 0;
  let hookIsOpen = services.has(hookNames.preStart);
  let isOver = plan.phases.length === 0;
  // Observers are called while an event is being told; one more event must wait for its turn.
  const tell = (event: FettleEvent) => queueMicrotask(() => emit(event));
  const about = ({ phase: { name, number, title, targetMs } }: Watched) => ({ phase: name, number, title, ...(targetMs !== undefined && { targetMs }) });
  const end = () => {
    isOver = true;
    for (const timer of deadlines.values()) clearTimeout(timer);
    deadlines.clear();
  };

  const forgetDeadline = (name: string) => {
    clearTimeout(deadlines.get(name));
    deadlines.delete(name);
  };

  const advance = (atMs: number): void => {
    if (isOver || hookIsOpen) return;
    for (const one of watched) {
      const isDue = one.phase.after.every((name) => watched.find(({ phase }) => phase.name === name)?.isDone !== false);
      if (one.startedMs !== undefined || !isDue) continue;
      one.startedMs = atMs;
      tell({ type: "phase.started", ...about(one) });
    }
    const settled = watched.find((one) => one.startedMs !== undefined && !one.isDone && [...one.members.values()].every(({ id }) => id !== "pending"));
    if (!settled) return;
    settled.isDone = true;
    const usual = usualMs?.get(settled.phase.name);
    const afterMs = atMs - (settled.startedMs ?? atMs);
    tell({ type: "phase.completed", ...about(settled), afterMs, failed: failedOf(settled), ...(usual !== undefined && { usualMs: usual }) });
    if (!watched.every(({ isDone }) => isDone)) return advance(atMs);
    const targets = watched.map(({ phase }) => phase.targetMs);
    const targetMs = targets.reduce<number | undefined>((sum, one) => (sum === undefined || one === undefined ? undefined : sum + one), 0);
    tell({ type: "boot.completed", afterMs: atMs - processStartedMs, failed: watched.flatMap(failedOf), ...(targetMs !== undefined && { targetMs }) });
    end();
  };

  const settle = (name: string, outcome: Outcome, atMs: number, reason = ""): void => {
    const one = watched.find(({ members }) => members.has(name));
    const before = one?.members.get(name);
    if (isOver || !one || one.isDone || before?.id === "failed") return;
    const service = services.get(name);
    one.members.set(name, outcome);
    if (outcome.id !== "pending") forgetDeadline(name);
    if (outcome.id === "failed" && !service?.optional) {
      tell({ type: "phase.failed", ...about(one), afterMs: atMs - (one.startedMs ?? atMs), reason: `${name} ${reason}` });
      verdict.resolve({ reason: `phase ${one.phase.number} failed`, exitCode: failedBoot });
      return end();
    }
    if (outcome.id === "failed") tell({ type: "phase.warned", ...about(one), member: name, reason });
    advance(atMs);
  };

  const onService = (service: Service, event: StampedEvent & { readonly service: string }): void => {
    const { name } = service;
    switch (event.type) {
      case "service.starting":
        // Restarted by somebody, or by a reload, before its phase was done: it counts again.
        return settle(name, { id: "pending" }, event.atMs);
      case "service.spawned":
        if (service.background) settle(name, { id: "fine" }, event.atMs);
        else if (!service.optional && !deadlines.has(name)) watchDeadline(service);
        return;
      case "service.ready":
        return settle(name, { id: "fine" }, event.atMs);
      case "service.failed":
        return settle(name, { id: "failed" }, event.atMs, `could not start: ${event.reason}`);
      case "service.exited": {
        if (event.wanted || service.background) return;
        const { ending } = event;
        const line = event.lastLines.at(-1);
        const reason = describeEnding(ending) + (line === undefined ? "" : `: ${line}`);
        lastLines.set(name, reason);
        if (ending.code === 0) return settle(name, { id: "fine" }, event.atMs);
        return settle(name, { id: service.optional ? "failed" : "pending" }, event.atMs, reason);
      }
      case "service.given-up":
        return settle(name, { id: "failed" }, event.atMs, lastLines.get(name) ?? event.reason);
      default:
        return;
    }
  };

  const watchDeadline = ({ name, readiness }: Service): void => {
    if (!readiness || readiness.startupMs === 0) return;
    // A little later than the probe itself, whose reason says more.
    const onTime = () => settle(name, { id: "failed" }, performance.now(), `was not ready after ${readiness.startupMs / 1000} s`);
    deadlines.set(name, setTimeout(onTime, readiness.startupMs + 500));
  };

  return {
    failure: verdict.promise,
    end,
    use(next) {
      if (isOver) return;
      const known = new Map(watched.flatMap(({ members }) => [...members]));
      const former = watched;
      services = byName(next);
      for (const name of deadlines.keys()) if (!services.has(name)) forgetDeadline(name);
      if (!services.has(hookNames.preStart)) hookIsOpen = false;
      watched = next.phases.map((phase): Watched => {
        const one = former.find((old) => old.phase.name === phase.name);
        if (one?.isDone) return { ...one, phase };
        const members = [...membersOf(next, phase).keys()].map((name): [string, Outcome] => [name, known.get(name) ?? { id: "pending" }]);
        return { phase, members: new Map(members), isDone: false, ...(one?.startedMs !== undefined && { startedMs: one.startedMs }) };
      });
      // A phase may have waited for nobody else than who is gone now.
      advance(performance.now());
    },
    apply(event) {
      if (isOver) return;
      if (event.type === "supervisor.stopping") return end();
      if (event.type === "supervisor.started") {
        processStartedMs = event.processStartedMs;
        return advance(event.atMs);
      }
      if (!("service" in event)) return;
      if (event.service === hookNames.preStart && ["service.exited", "service.failed"].includes(event.type)) {
        hookIsOpen = false;
        return advance(event.atMs);
      }
      const service = services.get(event.service);
      if (service) onService(service, event);
    },
  };
}

const byName = ({ services }: Plan): Map<string, Service> => new Map(services.map((service) => [service.name, service]));

function membersOf(plan: Plan, { name }: PlannedPhase): Map<string, Outcome> {
  return new Map(plan.services.filter(({ phase }) => phase === name).map((service) => [service.name, { id: "pending" }]));
}

function failedOf({ members }: Watched): string[] {
  return [...members].filter(([, { id }]) => id === "failed").map(([name]) => name);
}
