import type { Progress } from "../../engines/engine.ts";
import type { Envelope } from "../envelope.ts";
import type { Failure } from "../finisher.ts";
import type { TerminalResult, TerminalStatus } from "../terminal-result.ts";

/** What a caller can learn of a job at any time. */
export interface JobView {
  readonly id: string;
  readonly status: "IN_QUEUE" | "IN_PROGRESS" | TerminalStatus;
  readonly result?: TerminalResult;
  /** How far it is, while it runs and its engine tells. */
  readonly progress?: Omit<Progress, "preview">;
  /** Executions beyond the first. */
  readonly retries: number;
  readonly ageMs: number;
  /** A `JobRecord` as JSON: what was tried and when. */
  readonly record?: string;
}

/**
 * `conflict`: the id is taken by another job, or the job is not in a state for this; `busy`: try again in so many seconds.
 * `path` is the field that is wrong.
 */
export type Submission =
  | { readonly type: "accepted"; readonly view: JobView }
  | { readonly type: "refused"; readonly kind: "conflict" | "invalid"; readonly failure: Failure; readonly path?: string }
  | { readonly type: "refused"; readonly kind: "busy"; readonly failure: Failure; readonly retryAfterSeconds: number };

/** Pieces of a job's output, each as JSON text, each handed out once. */
export interface StreamPart {
  readonly view: JobView;
  readonly chunks: readonly string[];
}

/** What the job API may do; the server knows nothing else of jobs. */
export interface JobDesk {
  /** Reads an envelope by the configured limits. */
  read(text: string): Envelope;
  /** Accepts the job, durably; the same id with the same body gives the job that is there. */
  submit(envelope: Envelope & { type: "job" }, text: string): Promise<Submission>;
  view(id: string): JobView | undefined;
  /** Resolves with the view when the job has ended or `waitMs` is over. */
  wait(id: string, waitMs: number, options: { signal: AbortSignal }): Promise<JobView | undefined>;
  stream(id: string): Promise<StreamPart | undefined>;
  cancel(id: string): JobView | undefined;
  /** Runs an ended job again under its id; its former result is forgotten. */
  retry(id: string): Promise<Submission | undefined>;
  /** Cancels what waits and is not begun; resolves with how many that were. */
  purge(): Promise<number>;
  counts(): JobCounts;
  /** For a load balancer: can a job run here now, or soon, or not at all? */
  fitness(): "ready" | "starting" | "dead";
}

export interface JobCounts {
  readonly jobs: { readonly completed: number; readonly failed: number; readonly inProgress: number; readonly inQueue: number; readonly retried: number };
  readonly engines: { readonly ready: number; readonly busy: number; readonly total: number };
}

export interface Listening {
  readonly url: string;
  close(): Promise<void>;
}
