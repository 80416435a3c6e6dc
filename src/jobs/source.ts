import type { Progress } from "../engines/engine.ts";
import type { JobInput } from "./job.ts";
import type { JournalRow } from "./journal.ts";
import type { TerminalResult } from "./terminal-result.ts";

/**
 * Where jobs come from and where their results go. One contract for RunPod, HTTP, a file and (later) Redis.
 * `lease` waits for a job; `deliver` resolves when the other side has the result, or says why not.
 * Acknowledgement follows delivery: until then the job stays in the journal.
 */
export interface Source {
  readonly name: string;
  /** `ready`: ask for jobs only while an engine can run one; `always`: take and queue. */
  readonly takeWhen: "ready" | "always";
  readonly concurrency: number;
  /** Whether `release` can work at all: then its waiting jobs are given back as soon as leasing stops. */
  readonly canRelease: boolean;
  /** A finished job whose id comes again: send the kept result again when it completed, or run it anew in any case. */
  readonly onRepeat: "deliver" | "run";
  /** Starts what must run from the first second (pings, a listening socket). */
  open(options: { signal: AbortSignal }): Promise<void>;
  /**
   * The next job, or null when the source has ended (a file's only job was taken) or the signal aborted.
   * A job that arrives in spite of the abort is returned: it is ours then. `wanted` jobs could run at once; at least 1.
   */
  lease(options: { signal: AbortSignal; wanted: number }): Promise<Lease | null>;
  /** What the request behind the last lease brought besides it; asked right after each lease, and ours as well. */
  rest?(): readonly Lease[];
  /** A job of a former life, found in the journal: same duties as after `lease`. */
  adopt(job: JobInput): Lease;
  /** Only for a source with a queue of its own: takes its unfinished jobs of a former life back into it, instead of `adopt`. */
  restore?(rows: readonly JournalRow[]): void;
  /** Left out by a source that cannot pass it on; engines are then not asked for it. */
  progress?(lease: Lease, progress: Progress): void;
  /** Sends a piece of the output on before its end; resolves when the next may come. Never after `deliver` began. */
  partial?(lease: Lease, value: unknown): Promise<void>;
  /** The output of this job comes in pieces, though there may be none. */
  streams?(lease: Lease): void;
  /** Somebody wants to see previews of this very job now. Default: no. */
  wantsPreviews?(lease: Lease): boolean;
  /** `runpod`: `meta` goes into the output, because the platform passes nothing else on, and `stopPod` beside it. Default: meta beside the output. */
  readonly bodyStyle?: BodyStyle;
  /** The largest body this source can deliver for this job, in bytes; a larger result is made smaller or becomes an error before it is fixed. */
  maxResultBytes?(lease: Lease): number;
  /** Delivers the terminal result; tries again by itself for as long as makes sense. Every repeat is byte-identical. */
  deliver(lease: Lease, result: TerminalResult, options: { signal: AbortSignal }): Promise<Delivery>;
  /** Gives the job back unrun, where the source can take it back. False: it cannot, so it must be run or failed. */
  release(lease: Lease): Promise<boolean>;
  close(): Promise<void>;
}

/** `runpod-refresh`: as `runpod`, and every result asks for a fresh worker. */
export type BodyStyle = "runpod" | "runpod-refresh";

export interface Lease {
  readonly job: JobInput;
  /** Aborts when the caller cancelled the job or the lease was lost. */
  readonly signal: AbortSignal;
  /** The journal's key, when the job was journalled before it was leased (HTTP answers its caller only then). */
  readonly key?: number;
}

/**
 * `refused`: the other side will never take this very result (too large); it is replaced by an error with this message, once.
 * `undelivered`: given up for this life; the result stays in the journal and is sent at the next start.
 */
export type Delivery =
  | { readonly type: "delivered" }
  | { readonly type: "refused"; readonly message: string }
  | { readonly type: "undelivered"; readonly message: string };
