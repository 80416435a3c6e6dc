// control/ owns the talk with a running supervisor: HTTP over the unix socket `<runtimeDir>/control.sock` (mode 0600).
// Takes: snapshots and events from supervise/. Gives: the same to the worker, `fettle health` and `fettle service`.
// Must not know how services are run. The server lives in supervise/, because only it can answer.
//
//   GET  /snapshot                       → Snapshot
//   GET  /events?since=SEQ               → StampedEvent lines (NDJSON), kept open
//   GET  /worker                         → WorkerSettings (resolved, secrets included: the socket is private)
//   POST /report                         ← { events: FettleEvent[] } from the worker (jobs), numbered anew here
//   POST /end                            ← { exitCode, reason } from the worker: stop everything and end with this code
//   POST /services/NAME/restart | stop   → ServiceStatus
//   GET  /services/NAME/logs?lines=N&follow=1 → text
// Errors are `{ "error": ErrorJson }` with 404, 400 or 409.
import type { Config } from "../config/schema/index.ts";
import type { Ending, StampedEvent } from "../events/event.ts";
import type { PlannedEngine } from "../plan/plan.ts";

/** The socket's name within `runtimeDir`. */
export const socketName = "control.sock";

export interface ServiceStatus {
  readonly name: string;
  readonly role: "engine" | "worker" | "service" | "task";
  readonly state: "waiting" | "starting" | "ready" | "unready" | "backing-off" | "stopping" | "exited" | "crash-looping";
  readonly pid?: number;
  readonly restarts: number;
  /** ms from the spawn of the current child to its first readiness. */
  readonly readyAfterMs?: number;
  /** ms since the current child was spawned. */
  readonly uptimeMs?: number;
  readonly ending?: Ending;
  readonly reason?: string;
  readonly lastLines?: readonly string[];
  /** What it runs without, as it said itself: custom nodes that cannot be imported. */
  readonly complaints?: readonly Complaint[];
}

export interface Complaint {
  readonly what: string;
  readonly why?: string;
}

export interface EngineStatus {
  readonly name: string;
  readonly kind: string;
  readonly url: string;
  readonly ready: boolean;
}

/** One stage of the boot: what it was, when it began and ended since the process began (ms), and what was expected. */
export interface TimelineStage {
  readonly stage: string;
  readonly startedMs: number;
  readonly endedMs?: number;
  readonly expect?: { readonly minMs?: number; readonly maxMs: number };
  /** When it was first seen to accept a connection; only where an HTTP probe asks. */
  readonly listeningMs?: number;
  /** The median of earlier boots on this hardware. */
  readonly usualMs?: number;
}

/** A phase of the boot as far as it has come. */
export interface PhaseStatus {
  readonly name: string;
  readonly number: number;
  readonly title: string;
  readonly state: "waiting" | "running" | "completed" | "failed";
  readonly targetMs?: number;
  readonly usualMs?: number;
  readonly tookMs?: number;
  /** Members that failed, or the reason why the phase did. */
  readonly failed?: readonly string[];
}

export interface Snapshot {
  readonly seq: number;
  readonly pid: number;
  readonly version: string;
  readonly profile: string;
  /** Wall clock, ISO. */
  readonly startedAt: string;
  readonly uptimeMs: number;
  /** `starting` until every service that should be is ready; `degraded` when one is not any more. */
  readonly state: "starting" | "ready" | "degraded" | "stopping";
  readonly services: readonly ServiceStatus[];
  readonly engines: readonly EngineStatus[];
  /** Absent when the plan has no phases. */
  readonly phases?: readonly PhaseStatus[];
  readonly timeline: readonly TimelineStage[];
  /** Where the job API listens, once the worker said so. */
  readonly jobApi?: string;
  readonly jobs: { readonly received: number; readonly done: number; readonly failed: number };
}

/** What the worker needs to begin; it parses no YAML and loads no schema. */
export interface WorkerSettings {
  readonly profile: string;
  readonly stateDir: string;
  readonly runtimeDir: string;
  readonly sources: Config["sources"];
  readonly jobs: Config["jobs"];
  readonly results: Config["results"];
  readonly engines: readonly PlannedEngine[];
  readonly stopBudgetMs: number;
}

export type { StampedEvent };
