import { randomUUID } from "node:crypto";
import type { HttpSourceConfig } from "../../config/schema/sources.ts";
import { reasonOf } from "../../errors/fettle-error.ts";
import { createDeferred, type Deferred } from "../../util/deferred.ts";
import { pause } from "../../util/pause.ts";
import { type Envelope, type EnvelopeLimits, parseEnvelope } from "../envelope.ts";
import type { Failure, Finisher } from "../finisher.ts";
import type { JobInput } from "../job.ts";
import type { Journal, JournalRow } from "../journal.ts";
import type { Pool } from "../pool.ts";
import { jobOf } from "../source-loop.ts";
import type { Delivery, Lease, Source } from "../source.ts";
import type { TerminalResult, TerminalStatus } from "../terminal-result.ts";

/** What a caller can learn of a job at any time. */
export interface JobView {
  readonly id: string;
  readonly status: "IN_QUEUE" | "IN_PROGRESS" | TerminalStatus;
  readonly result?: TerminalResult;
  /** Executions beyond the first. */
  readonly retries: number;
  readonly ageMs: number;
}

export type Submission = { readonly type: "accepted"; readonly view: JobView } | { readonly type: "refused"; readonly failure: Failure };

/** What the job API may do; the server knows nothing else of jobs. */
export interface JobDesk {
  /** Reads an envelope by the configured limits. */
  read(text: string): Envelope;
  /** Accepts the job, durably; the same id again gives the job that is there. */
  submit(envelope: Envelope & { type: "job" }, text: string): Submission;
  view(id: string): JobView | undefined;
  /** Resolves with the view when the job has ended or `waitMs` is over. */
  wait(id: string, waitMs: number, options: { signal: AbortSignal }): Promise<JobView | undefined>;
  cancel(id: string): JobView | undefined;
  counts(): JobCounts;
}

export interface JobCounts {
  readonly jobs: { readonly completed: number; readonly failed: number; readonly inProgress: number; readonly inQueue: number; readonly retried: number };
  readonly engines: { readonly ready: number; readonly busy: number; readonly total: number };
}

export interface Listening {
  readonly url: string;
  close(): Promise<void>;
}

export interface HttpSourceParts {
  readonly config: HttpSourceConfig;
  readonly limits: EnvelopeLimits;
  readonly journal: Journal;
  readonly finisher: Finisher;
  readonly pool: Pool;
  /** Puts the desk on the network. */
  readonly listen: (desk: JobDesk) => Promise<Listening>;
}

interface Live {
  readonly key: number;
  readonly id: string;
  readonly bytes: number;
  readonly controller: AbortController;
  /** Resolved at the job's end, or when it is given back to the journal. */
  readonly settled: Deferred<void>;
  leased: boolean;
}

/** Inputs waiting in the journal may take this much disk together. */
const maxWaitingBytes = 1_000_000_000;

/**
 * RunPod's endpoint shapes on a local port. A job is journalled before its caller gets an answer; inputs wait in the journal,
 * memory holds only ids.
 */
export class HttpSource implements Source, JobDesk {
  readonly name = "http";
  readonly takeWhen: "ready" | "always";
  readonly concurrency: number;
  readonly canRelease = true;
  readonly onRepeat = "deliver";
  readonly #parts: HttpSourceParts;
  readonly #live = new Map<string, Live>();
  readonly #queue: Live[] = [];
  #waitingBytes = 0;
  #arrived: (() => void) | undefined;
  #stopping = false;
  #listening: Listening | undefined;
  readonly #ended = { completed: 0, failed: 0, retried: 0 };

  constructor(parts: HttpSourceParts) {
    this.#parts = parts;
    this.takeWhen = parts.config.takeWhen;
    this.concurrency = parts.config.concurrency;
  }

  get url(): string | undefined {
    return this.#listening?.url;
  }

  async open({ signal }: { signal: AbortSignal }): Promise<void> {
    this.#listening = await this.#parts.listen(this);
    signal.addEventListener("abort", () => this.#stop(), { once: true });
  }

  restore(rows: readonly JournalRow[]): void {
    for (const row of rows) this.#enqueue(row, 0);
  }

  async lease({ signal }: { signal: AbortSignal }): Promise<Lease | null> {
    for (;;) {
      if (signal.aborted) return null;
      const live = this.#queue.shift();
      if (live) return this.#leaseOf(live);
      await new Promise<void>((resolve) => {
        const done = () => {
          this.#arrived = undefined;
          signal.removeEventListener("abort", done);
          resolve();
        };
        this.#arrived = done;
        signal.addEventListener("abort", done, { once: true });
      });
    }
  }

  adopt(job: JobInput): Lease {
    return { job, signal: new AbortController().signal };
  }

  /** Callers come for their result; it is theirs as soon as it is in the journal. */
  async deliver({ job }: Lease, result: TerminalResult): Promise<Delivery> {
    this.#ended[result.status === "COMPLETED" ? "completed" : "failed"] += 1;
    const live = this.#live.get(job.id);
    this.#live.delete(job.id);
    this.#ended.retried += Math.max(0, (this.#parts.journal.find(this.name, job.id)?.attempts ?? 0) - 1);
    live?.settled.resolve();
    return { type: "delivered" };
  }

  /** It stays in the journal for the next life. */
  async release({ job }: Lease): Promise<boolean> {
    this.#live.get(job.id)?.settled.resolve();
    return true;
  }

  async close(): Promise<void> {
    await this.#listening?.close();
  }

  read(text: string): Envelope {
    return parseEnvelope(text, this.#parts.limits);
  }

  submit(envelope: Envelope & { type: "job" }, text: string): Submission {
    const known = envelope.id === undefined ? undefined : this.view(envelope.id);
    if (known) return { type: "accepted", view: known };
    const refusal = this.#refusal(text.length);
    if (refusal) return { type: "refused", failure: refusal };
    const job = { source: this.name, id: envelope.id ?? randomUUID(), receivedAt: Date.now() };
    try {
      const { row } = this.#parts.journal.accept(job, text, { isPromised: true });
      this.#enqueue(row, text.length);
      return { type: "accepted", view: { id: job.id, status: "IN_QUEUE", retries: 0, ageMs: 0 } };
    } catch (error) {
      return {
        type: "refused",
        failure: { code: "result.cannot-store", message: `Cannot accept the job: the journal cannot be written (${reasonOf(error)}).` },
      };
    }
  }

  view(id: string): JobView | undefined {
    const row = this.#parts.journal.find(this.name, id);
    if (!row) return undefined;
    const common = { id, retries: Math.max(0, row.attempts - 1), ageMs: Date.now() - row.receivedAt };
    const result = this.#parts.journal.resultOf(row);
    if (result) {
      this.#parts.journal.hasBody(row);
      return { ...common, status: result.status, result };
    }
    // The engine may take a while to let go; to its caller the job is over.
    if (this.#live.get(id)?.controller.signal.aborted) return { ...common, status: "CANCELLED" };
    return { ...common, status: row.state === "running" ? "IN_PROGRESS" : "IN_QUEUE" };
  }

  async wait(id: string, waitMs: number, { signal }: { signal: AbortSignal }): Promise<JobView | undefined> {
    const live = this.#live.get(id);
    if (live && !this.#isGivenBack(live)) {
      const enough = new AbortController();
      await Promise.race([live.settled.promise, pause(waitMs, { signal: AbortSignal.any([signal, enough.signal]) })]);
      enough.abort();
    }
    return this.view(id);
  }

  cancel(id: string): JobView | undefined {
    const live = this.#live.get(id);
    if (live?.leased) live.controller.abort();
    else if (live) this.#cancelWaiting(live);
    return this.view(id);
  }

  counts(): JobCounts {
    const inProgress = [...this.#live.values()].filter(({ leased }) => leased).length;
    return { jobs: { ...this.#ended, inProgress, inQueue: this.#queue.length }, engines: this.#parts.pool.counts() };
  }

  #refusal(bytes: number): Failure | undefined {
    if (this.#stopping) return { code: "job.shutting-down", message: "Cannot accept the job: fettle is shutting down." };
    if (this.#queue.length >= this.#parts.config.maxQueue || this.#waitingBytes + bytes > maxWaitingBytes) {
      return { code: "job.queue-full", message: `Cannot accept the job: ${this.#queue.length} jobs are waiting already.` };
    }
    return undefined;
  }

  #enqueue(row: JournalRow, bytes: number): void {
    const live: Live = { key: row.key, id: row.id, bytes, controller: new AbortController(), settled: createDeferred(), leased: false };
    this.#live.set(row.id, live);
    this.#queue.push(live);
    this.#waitingBytes += bytes;
    this.#arrived?.();
  }

  #leaseOf(live: Live): Lease {
    const { journal } = this.#parts;
    live.leased = true;
    this.#waitingBytes -= live.bytes;
    const row = journal.find(this.name, live.id);
    const job = row ? jobOf(row, journal.envelope(live.key)) : { id: live.id, source: this.name, input: null, extra: {}, receivedAt: Date.now() };
    return { job, signal: live.controller.signal, key: live.key };
  }

  #cancelWaiting(live: Live): void {
    this.#queue.splice(this.#queue.indexOf(live), 1);
    this.#waitingBytes -= live.bytes;
    const row = this.#parts.journal.find(this.name, live.id);
    this.#live.delete(live.id);
    if (row) {
      this.#parts.finisher.fail(row, { code: "job.cancelled", message: "The job was cancelled by its caller." });
      this.#parts.finisher.acknowledge(row);
    }
    live.settled.resolve();
  }

  /** Callers whose job will not be begun in this life are told so; running jobs may still end. */
  #stop(): void {
    this.#stopping = true;
    for (const live of this.#queue) live.settled.resolve();
  }

  #isGivenBack(live: Live): boolean {
    return this.#stopping && !live.leased;
  }
}
