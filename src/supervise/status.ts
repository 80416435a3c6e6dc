import type { Complaint, EngineStatus, PhaseStatus, ServiceStatus, Snapshot, TimelineStage } from "../control/protocol.ts";
import type { StampedEvent } from "../events/event.ts";
import type { Plan, PlannedPhase, Service } from "../plan/plan.ts";
import { showUrl } from "../util/show-url.ts";
import { version } from "../version.ts";
import { describeEnding } from "./service-state.ts";

type Shown = { -readonly [key in keyof ServiceStatus]: ServiceStatus[key] };

interface Kept {
  readonly shown: Shown;
  optional: boolean;
  background: boolean;
  /** It was ready or done, or has failed, at least once. */
  settled?: boolean;
  spawnedMs?: number;
  /** It ended because somebody asked for it. */
  wanted?: boolean;
}

/** An observer: the machine's state as one value, made of events alone. */
export interface Status {
  apply(event: StampedEvent): void;
  /** After a reload: services that are new or gone. */
  use(plan: Plan): void;
  snapshot(timeline: readonly TimelineStage[]): Snapshot;
}

export function createStatus(first: Plan): Status {
  let plan = first;
  const startedAt = new Date().toISOString();
  const startedMs = performance.now();
  const services = new Map<string, Kept>(plan.services.map((service) => [service.name, waiting(service)]));
  let phases = new Map<string, PhaseStatus>(plan.phases.map((one) => [one.name, waitingPhase(one)]));
  const jobs = { received: 0, done: 0, failed: 0 };
  let seq = 0;
  let phase: "starting" | "up" | "stopping" = "starting";
  let jobApi: string | undefined;

  const stateNow = (): Snapshot["state"] => {
    if (phase === "stopping") return "stopping";
    const all = [...services.values()];
    if (all.every(isWell)) return "ready";
    return phase === "up" || all.some(isLost) ? "degraded" : "starting";
  };
  return {
    apply(event) {
      seq = event.seq;
      if ("service" in event) {
        const kept = services.get(event.service);
        if (kept) applyToService(kept, event);
      }
      if ("phase" in event) applyToPhase(phases, event);
      if (event.type === "supervisor.ready") phase = "up";
      if (event.type === "supervisor.stopping") phase = "stopping";
      if (event.type === "worker.listening") jobApi = event.url;
      if (event.type === "job.received" && !event.recovered) jobs.received++;
      if (event.type === "job.done") jobs.done++;
      if (event.type === "job.failed" || event.type === "job.cancelled") jobs.failed++;
    },
    use(next) {
      plan = next;
      for (const name of services.keys()) if (!next.services.some((service) => service.name === name)) services.delete(name);
      for (const service of next.services) {
        const known = services.get(service.name);
        if (!known) services.set(service.name, waiting(service));
        else Object.assign(known, { optional: service.optional === true, background: service.background === true });
      }
      // One that has begun keeps what was said of it; what is declared now comes in the order of now.
      phases = new Map(next.phases.map((one) => [one.name, { ...phases.get(one.name), ...waitingPhase(one), ...begun(phases.get(one.name)) }]));
    },
    snapshot(timeline) {
      const nowMs = performance.now();
      return {
        seq,
        pid: process.pid,
        version,
        profile: plan.profile,
        startedAt,
        uptimeMs: Math.round(nowMs - startedMs),
        state: stateNow(),
        services: [...services.values()].map(({ shown, spawnedMs }) => ({
          ...shown,
          ...(spawnedMs !== undefined && { uptimeMs: Math.round(nowMs - spawnedMs) }),
        })),
        engines: plan.engines.map(({ name, kind, url, service }): EngineStatus => ({
          name,
          kind,
          url: showUrl(url),
          ready: service === undefined || services.get(service)?.shown.state === "ready",
        })),
        ...(phases.size > 0 && { phases: [...phases.values()] }),
        timeline,
        ...(jobApi !== undefined && { jobApi }),
        jobs: { ...jobs },
      };
    },
  };
}

function waitingPhase({ name, number, title, targetMs }: PlannedPhase): PhaseStatus {
  return { name, number, title, state: "waiting", ...(targetMs !== undefined && { targetMs }) };
}

const begun = (phase: PhaseStatus | undefined): Partial<PhaseStatus> => (phase ? { state: phase.state } : {});

/** An engine or worker must be ready; anything else may also have ended well by itself. */
function isWell({ shown: { role, state, ending }, wanted, settled, optional, background }: Kept): boolean {
  if ((optional && settled) || (background && state !== "waiting")) return true;
  return state === "ready" || (role !== "engine" && role !== "worker" && state === "exited" && ending?.code === 0 && !wanted);
}

/** It will not come back by itself, and that matters. */
function isLost(kept: Kept): boolean {
  if (kept.optional) return false;
  return kept.shown.state === "crash-looping" || (kept.shown.state === "exited" && !kept.wanted && !isWell(kept));
}

function applyToPhase(phases: Map<string, PhaseStatus>, event: Extract<StampedEvent, { readonly phase: string }>): void {
  const now = phases.get(event.phase);
  if (!now) return;
  const failed = now.failed ?? [];
  switch (event.type) {
    case "phase.started":
      return void phases.set(event.phase, { ...now, state: "running" });
    case "phase.warned":
      return void phases.set(event.phase, { ...now, failed: [...failed, `${event.member}: ${event.reason}`] });
    case "phase.completed":
      return void phases.set(event.phase, {
        ...now,
        state: "completed",
        tookMs: Math.round(event.afterMs),
        ...(event.usualMs !== undefined && { usualMs: event.usualMs }),
      });
    case "phase.failed":
      return void phases.set(event.phase, { ...now, state: "failed", tookMs: Math.round(event.afterMs), failed: [...failed, event.reason] });
  }
}

function applyToService(kept: Kept, event: StampedEvent & { readonly service: string }): void {
  if (["service.ready", "service.failed", "service.exited"].includes(event.type)) kept.settled = true;
  switch (event.type) {
    case "service.starting":
      kept.shown.state = "starting";
      delete kept.shown.reason;
      delete kept.shown.ending;
      delete kept.shown.lastLines;
      delete kept.shown.readyAfterMs;
      delete kept.shown.complaints;
      return;
    case "service.pending":
      kept.shown.state = "waiting";
      kept.shown.reason = event.reason;
      kept.wanted = false;
      return;
    case "service.spawned":
      kept.shown.pid = event.pid;
      kept.shown.restarts = event.restarts;
      kept.spawnedMs = event.atMs;
      return;
    case "service.waiting":
      kept.shown.reason = event.reason;
      return;
    case "service.ready":
      kept.shown.state = "ready";
      kept.shown.readyAfterMs ??= Math.round(event.afterMs);
      delete kept.shown.reason;
      return;
    case "service.unready":
      kept.shown.state = "unready";
      kept.shown.reason = event.reason;
      return;
    case "service.complained":
      kept.shown.complaints = [...(kept.shown.complaints ?? []).filter(({ what }) => what !== event.what), complaintOf(event)];
      return;
    case "service.stopping":
      kept.shown.state = "stopping";
      return;
    case "service.exited":
      kept.shown.state = "exited";
      kept.shown.ending = event.ending;
      kept.wanted = event.wanted;
      if (!event.wanted) {
        if (event.ending.code === 0) return void clearChild(kept);
        kept.shown.reason ??= describeEnding(event.ending);
        kept.shown.lastLines = event.lastLines.slice(-10);
      }
      clearChild(kept);
      return;
    case "service.failed":
      // A dependant that cannot begin waits on, with the reason; one that could not be spawned has ended.
      if (kept.shown.state === "starting" && kept.shown.pid === undefined) kept.shown.state = "exited";
      kept.shown.reason = event.reason;
      return;
    case "service.backing-off":
      kept.shown.state = "backing-off";
      return;
    case "service.crash-looping":
      kept.shown.state = "crash-looping";
      kept.shown.lastLines = event.lastLines.slice(-10);
      return;
    case "service.stopped":
      kept.shown.state = "exited";
      kept.wanted = true;
      delete kept.shown.reason;
      return;
    case "service.listening":
    case "service.given-up":
    case "service.killed":
      return;
  }
}

const complaintOf = ({ what, why }: Complaint): Complaint => ({ what, ...(why !== undefined && { why }) });

function clearChild(kept: Kept): void {
  delete kept.shown.pid;
  delete kept.spawnedMs;
}

function waiting({ name, role, dependsOn, phase, optional, background }: Service): Kept {
  const own = dependsOn.filter(({ startOnly }) => !startOnly).map(({ service }) => service);
  const others = own.length === 0 && own.length < dependsOn.length ? [phase === undefined ? "the others" : `the phase before ${phase}`] : own;
  return {
    optional: optional === true,
    background: background === true,
    shown: { name, role, state: "waiting", restarts: 0, ...(others.length > 0 && { reason: `waits for ${others.join(", ")}` }) },
  };
}
