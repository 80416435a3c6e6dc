import type { Progress } from "../engines/engine.ts";
import type { JobInput } from "./job.ts";
import type { TerminalResult } from "./terminal-result.ts";

/**
 * Where jobs come from and where their results go. One contract for RunPod, HTTP, a file and (later) Redis.
 * `lease` waits for a job; `complete` and `fail` return only when the other side has the result, or throw.
 * Acknowledgement follows delivery: until then the job stays in the journal.
 */
export interface Source {
  readonly name: string;
  /** `ready`: ask for jobs only while an engine can run one; `always`: take and queue. */
  readonly takeWhen: "ready" | "always";
  readonly concurrency: number;
  /** Starts what must run from the first second (pings, a listening socket). */
  open(options: { signal: AbortSignal }): Promise<void>;
  /** The next job, or null when the source has ended (a file's only job was taken) or the signal aborted. */
  lease(options: { signal: AbortSignal }): Promise<Lease | null>;
  /** A job of a former life, found in the journal: same duties as after `lease`. */
  adopt(job: JobInput): Lease;
  progress(lease: Lease, progress: Progress): void;
  /** Delivers the terminal result; tries again by itself for as long as makes sense. Every repeat is byte-identical. */
  deliver(lease: Lease, result: TerminalResult, options: { signal: AbortSignal }): Promise<void>;
  /** Gives the job back unrun, where the source can take it back. False: it cannot, so it must be run or failed. */
  release(lease: Lease): Promise<boolean>;
  close(): Promise<void>;
}

export interface Lease {
  readonly job: JobInput;
  /** Aborts when the caller cancelled the job or the lease was lost. */
  readonly signal: AbortSignal;
}
