import type { TerminalStatus } from "./terminal-result.ts";

/**
 *   accepted ──start──▶ running ──finish──▶ finished ──acknowledge──▶ delivered ──(kept a while)──▶ removed
 *      ▲                   │
 *      └─────requeue───────┘  on a drain, and at start for what a dead worker left running (that counts as a loss)
 */
export type JournalState = "accepted" | "running" | "finished" | "delivered";

export interface JournalRow {
  readonly key: number;
  readonly source: string;
  readonly id: string;
  readonly state: JournalState;
  readonly receivedAt: number;
  /** How often an engine was given the job. */
  readonly attempts: number;
  /** How often the worker died while an engine had it. */
  readonly losses: number;
  /** The engine of the latest attempt. */
  readonly engine: string | null;
  readonly status: TerminalStatus | null;
  readonly code: string | null;
  readonly sizeBytes: number;
  readonly delayMs: number;
  readonly executionMs: number;
  /** The field or node that the error is about. */
  readonly errorPath: string | null;
  /** A `JobRecord` as JSON: what was tried and when (see record.ts); null until an engine was asked. */
  readonly record: string | null;
  /** The size of its envelope, where that is kept for another run; else 0. */
  readonly inputBytes: number;
  /** What the caller sent, in a few characters; null where nobody compares. */
  readonly fingerprint: string | null;
}

export interface Accepted {
  readonly row: JournalRow;
  /** False when this id of this source was in the journal already; then `row` is what was there. */
  readonly isNew: boolean;
}

export interface AcceptOptions {
  /** The first attempt begins in the same write. */
  readonly engine?: string | undefined;
  /** The caller is told that the job is safe, so the disk must have it. */
  readonly isPromised?: boolean;
  /** The envelope stays after the job's end, so that it can be run again. */
  readonly keepsInput?: boolean;
  readonly fingerprint?: string | undefined;
  /** Is sent the job's result, whatever happens to this process meanwhile. */
  readonly webhook?: string | undefined;
}
