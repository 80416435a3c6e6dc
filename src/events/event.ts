// events/ owns what can happen: one typed union. Log bytes and previews are streams of their own and never events.
// Takes: facts from supervise and jobs. Gives: numbered, monotonic events to observers. Must not know what anyone does with them.
// Timeline, log lines, metrics, the status file and the control socket are observers; no guarantee rests on one.

/** How a child ended; exactly one of code and signal is set. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

interface ServiceEvent {
  readonly service: string;
}

interface PhaseEvent {
  readonly phase: string;
  readonly number: number;
  readonly title: string;
  readonly targetMs?: number;
}

interface JobEvent {
  readonly job: string;
  readonly source: string;
}

export type FettleEvent =
  // The supervisor
  | { readonly type: "supervisor.started"; readonly profile: string; readonly version: string; readonly processStartedMs: number }
  | { readonly type: "supervisor.ready"; readonly afterMs: number }
  | { readonly type: "supervisor.warned"; readonly message: string; readonly hint?: string }
  /** The configuration was read again (SIGHUP). `keys`: what differs, without values. */
  | {
      readonly type: "supervisor.reloaded";
      readonly added: readonly string[];
      readonly removed: readonly string[];
      readonly changed: readonly { readonly service: string; readonly keys: readonly string[] }[];
    }
  /** The configuration is not valid now; nothing changed. */
  | { readonly type: "supervisor.reload-failed"; readonly message: string; readonly hint?: string }
  /** Log files were moved away (SIGUSR1), and go on in new ones. `direct`: services that write theirs themselves and go on in the old one. */
  | { readonly type: "supervisor.logs-reopened"; readonly files: number; readonly direct: readonly string[] }
  | { readonly type: "supervisor.stopping"; readonly reason: string; readonly budgetMs: number }
  | { readonly type: "supervisor.stopped"; readonly exitCode: number; readonly afterMs: number }
  // A service; see the state diagram in supervise/service.ts
  /** Started again by somebody, and its dependencies do not hold. */
  | (ServiceEvent & { readonly type: "service.pending"; readonly reason: string })
  | (ServiceEvent & { readonly type: "service.starting"; readonly argv: readonly string[]; readonly announce?: string })
  | (ServiceEvent & { readonly type: "service.spawned"; readonly pid: number; readonly restarts: number })
  | (ServiceEvent & { readonly type: "service.waiting"; readonly tries: number; readonly reason: string })
  | (ServiceEvent & { readonly type: "service.listening"; readonly afterMs: number })
  | (ServiceEvent & { readonly type: "service.ready"; readonly afterMs: number })
  | (ServiceEvent & { readonly type: "service.unready"; readonly reason: string })
  /** It said that it runs without something, such as a custom node; once for each `what`, again when the reason follows. */
  | (ServiceEvent & { readonly type: "service.complained"; readonly what: string; readonly why?: string })
  | (ServiceEvent & { readonly type: "service.exited"; readonly ending: Ending; readonly wanted: boolean; readonly lastLines: readonly string[] })
  | (ServiceEvent & { readonly type: "service.failed"; readonly reason: string })
  | (ServiceEvent & { readonly type: "service.backing-off"; readonly delayMs: number; readonly restarts: number })
  | (ServiceEvent & { readonly type: "service.crash-looping"; readonly restarts: number; readonly lastLines: readonly string[] })
  /** It failed and is not started again by itself. */
  | (ServiceEvent & { readonly type: "service.given-up"; readonly reason: string })
  | (ServiceEvent & { readonly type: "service.stopping"; readonly signal: NodeJS.Signals })
  | (ServiceEvent & { readonly type: "service.killed"; readonly afterMs: number })
  | (ServiceEvent & { readonly type: "service.stopped" })
  // The phases of the boot; see phases/watch.ts
  | (PhaseEvent & { readonly type: "phase.started" })
  /** A member that may fail has failed; the phase goes on. */
  | (PhaseEvent & { readonly type: "phase.warned"; readonly member: string; readonly reason: string })
  /** `usualMs`: the median of earlier boots on this hardware. */
  | (PhaseEvent & { readonly type: "phase.completed"; readonly afterMs: number; readonly usualMs?: number; readonly failed: readonly string[] })
  | (PhaseEvent & { readonly type: "phase.failed"; readonly afterMs: number; readonly reason: string })
  | { readonly type: "boot.completed"; readonly afterMs: number; readonly targetMs?: number; readonly failed: readonly string[] }
  // Jobs (the worker)
  | { readonly type: "worker.started"; readonly pid: number; readonly sources: readonly string[] }
  | { readonly type: "worker.listening"; readonly url: string }
  | (JobEvent & { readonly type: "job.received"; readonly recovered: boolean })
  /** `queueMs`: since it was received; attempt 1 tells how long it waited. */
  | (JobEvent & { readonly type: "job.started"; readonly engine: string; readonly attempt: number; readonly queueMs: number })
  | (JobEvent & { readonly type: "job.retried"; readonly attempt: number; readonly cause: string; readonly remedy?: "free-memory" | "restart" })
  | (JobEvent & { readonly type: "job.done"; readonly engine?: string; readonly engineMs: number; readonly sizeBytes: number })
  | (JobEvent & {
      readonly type: "job.failed";
      readonly engine?: string;
      readonly code: string;
      readonly message: string;
      readonly path?: string;
      readonly engineMs: number;
    })
  | (JobEvent & { readonly type: "job.cancelled"; readonly engine?: string; readonly engineMs: number })
  /** `points`: the six request points as the job's record has them. */
  | (JobEvent & {
      readonly type: "job.sent";
      readonly status: "COMPLETED" | "FAILED" | "CANCELLED";
      readonly code?: string;
      readonly totalMs: number;
      readonly points: Readonly<Record<string, string>>;
    })
  /** Answered from the response cache (`hit`), run because it was not there, or put there. */
  | (JobEvent & { readonly type: "job.cached"; readonly outcome: "hit" | "miss" | "stored" })
  /** It shared one call of the engine; `size` jobs in all, each of which says so. */
  | (JobEvent & { readonly type: "job.batched"; readonly engine: string; readonly size: number })
  /** What the worker sees of an engine, when that changes. */
  | { readonly type: "worker.engine"; readonly engine: string; readonly ready: boolean }
  /** The worker asks for a restart of the engine's service: it is dead to jobs, whatever its probes say. */
  | { readonly type: "worker.restarts-engine"; readonly engine: string; readonly cause: string }
  /** A job's result has arrived where its webhook leads. `host` never holds credentials. */
  | (JobEvent & { readonly type: "webhook.sent"; readonly host: string; readonly tries: number })
  /** `retryInMs` 0: it was given up. */
  | (JobEvent & { readonly type: "webhook.failed"; readonly host: string; readonly tries: number; readonly reason: string; readonly retryInMs: number })
  | { readonly type: "source.failed"; readonly source: string; readonly message: string; readonly retryInMs: number };

/** An event as observers see it: `seq` counts from 1 without gaps, `atMs` is monotonic since the process began, `time` is the wall clock (ISO). */
export type StampedEvent = FettleEvent & { readonly seq: number; readonly atMs: number; readonly time: string };

export type EventOf<T extends FettleEvent["type"]> = Extract<StampedEvent, { type: T }>;
