import { rmSync } from "node:fs";
import type { HttpSourceConfig } from "../../config/schema/sources.ts";
import type { Progress } from "../../engines/engine.ts";
import { pause } from "../../util/pause.ts";
import { type Envelope, type EnvelopeLimits, parseEnvelope } from "../envelope.ts";
import { cancelled, type Finisher } from "../finisher.ts";
import type { JobFeed } from "../job-feed.ts";
import type { JobFault, JobInput } from "../job.ts";
import type { Journal, JournalRow } from "../journal.ts";
import type { Pool } from "../pool.ts";
import { jobOf } from "../source-loop.ts";
import type { Delivery, Lease, Source } from "../source.ts";
import type { TerminalResult } from "../terminal-result.ts";
import type { WebhookOutbox } from "../webhooks/outbox.ts";
import type { JobCounts, JobDesk, JobView, Listening, StreamPart, Submission } from "./http-desk.ts";
import { HttpIntake } from "./http-intake.ts";
import { Pace } from "./http-pace.ts";
import { HttpQueue, type Live } from "./http-queue.ts";
import { HttpStreams } from "./http-stream.ts";

export type { JobCounts, JobDesk, JobView, Listening, StreamPart, Submission } from "./http-desk.ts";

export interface HttpSourceParts {
  readonly config: HttpSourceConfig;
  readonly limits: EnvelopeLimits;
  readonly journal: Journal;
  readonly finisher: Finisher;
  readonly pool: Pool;
  readonly feed: JobFeed;
  readonly outbox: WebhookOutbox;
  readonly log: { warn(message: string, fields?: Record<string, unknown>): void };
  /** No engine will run a job again without somebody's help. */
  readonly areEnginesDead: () => boolean;
  /** What is wrong with a job, where that can be seen before it is accepted. */
  readonly check?: ((job: Pick<JobInput, "input" | "extra">) => JobFault | undefined) | undefined;
  /** Puts the desk on the network. */
  readonly listen: (desk: JobDesk) => Promise<Listening>;
}

/** Jobs cancelled in one write to the journal. */
const purgedAtOnce = 20;

/** RunPod's endpoint shapes on a local port. A job is journalled before its caller gets an answer; memory holds only ids. */
export class HttpSource implements Source, JobDesk {
  readonly name = "http";
  readonly takeWhen: "ready" | "always";
  readonly concurrency: number;
  readonly canRelease = true;
  readonly onRepeat = "deliver";
  readonly #parts: HttpSourceParts;
  readonly #queue: HttpQueue;
  readonly #streams: HttpStreams;
  readonly #intake: HttpIntake;
  readonly #leases = new WeakMap<Lease, Live>();
  readonly #pace = new Pace();
  #stopping = false;
  #listening: Listening | undefined;
  readonly #ended = { completed: 0, failed: 0, retried: 0 };

  constructor(parts: HttpSourceParts) {
    this.#parts = parts;
    this.takeWhen = parts.config.takeWhen;
    this.concurrency = parts.config.concurrency;
    this.#queue = new HttpQueue(parts.config.maxQueue);
    this.#streams = new HttpStreams((key) => parts.journal.streamPath(key));
    const [queue, pace] = [this.#queue, this.#pace];
    this.#intake = new HttpIntake({ ...parts, source: this.name, queue, pace, view: (id) => this.view(id), isStopping: () => this.#stopping });
  }

  get url(): string | undefined {
    return this.#listening?.url;
  }

  async open({ signal }: { signal: AbortSignal }): Promise<void> {
    this.#parts.outbox.open();
    this.#listening = await this.#parts.listen(this);
    signal.addEventListener("abort", () => this.#stop(), { once: true });
  }

  restore(rows: readonly JournalRow[]): void {
    for (const row of rows) {
      // What runs again streams again, from its beginning.
      if (row.status === null) rmSync(this.#parts.journal.streamPath(row.key), { force: true });
      this.#queue.add(row);
    }
  }

  async lease({ signal }: { signal: AbortSignal }): Promise<Lease | null> {
    const live = await this.#queue.next({ signal });
    if (!live) return null;
    const { journal } = this.#parts;
    const row = journal.find(this.name, live.id);
    const job = row ? jobOf(row, journal.envelope(live.key)) : { id: live.id, source: this.name, input: null, extra: {}, receivedAt: Date.now() };
    const lease = { job, signal: live.controller.signal, key: live.key };
    this.#leases.set(lease, live);
    return lease;
  }

  adopt(job: JobInput): Lease {
    return { job, signal: new AbortController().signal };
  }

  progress(lease: Lease, progress: Progress): void {
    const live = this.#leases.get(lease);
    if (!live) return;
    const { preview: _preview, ...rest } = progress;
    live.progress = { ...live.progress, ...rest };
    this.#parts.feed.progress(live.id, this.name, progress);
  }

  wantsPreviews(lease: Lease): boolean {
    return this.#parts.feed.wantsPreviews(lease.job.id);
  }

  async partial(lease: Lease, value: unknown): Promise<void> {
    const live = this.#leases.get(lease);
    if (live && !(await this.#streams.append(live.key, value))) {
      this.#parts.log.warn("It yields more than /stream can keep; further pieces are only in its result.", { job: live.id });
    }
  }

  /** Callers come for their result; it is theirs as soon as it is in the journal. A webhook takes it to them. */
  async deliver(lease: Lease, result: TerminalResult): Promise<Delivery> {
    this.#ended[result.status === "COMPLETED" ? "completed" : "failed"] += 1;
    this.#ended.retried += Math.max(0, (this.#parts.journal.find(this.name, lease.job.id)?.attempts ?? 0) - 1);
    this.#pace.finished(result.executionMs);
    const live = this.#leases.get(lease);
    if (live) this.#settle(live);
    return { type: "delivered" };
  }

  /** It stays in the journal for the next life. */
  async release(lease: Lease): Promise<boolean> {
    this.#leases.get(lease)?.settled.resolve();
    return true;
  }

  async close(): Promise<void> {
    await Promise.all([this.#listening?.close(), this.#parts.outbox.close()]);
  }

  read(text: string): Envelope {
    return parseEnvelope(text, this.#parts.limits);
  }

  submit(envelope: Envelope & { type: "job" }, text: string): Promise<Submission> {
    return this.#intake.submit(envelope, text);
  }

  retry(id: string): Promise<Submission | undefined> {
    return this.#intake.retry(id);
  }

  view(id: string): JobView | undefined {
    const { journal } = this.#parts;
    const row = journal.find(this.name, id);
    if (!row) return undefined;
    const record = row.record === null ? {} : { record: row.record };
    const common = { id, retries: Math.max(0, row.attempts - 1), ageMs: Date.now() - row.receivedAt, ...record };
    const live = this.#queue.find(id);
    // Until it is delivered, its result may not be on the disk: after a power cut there would be another one.
    const result = live ? undefined : journal.resultOf(row);
    if (result) {
      journal.hasBody(row);
      return { ...common, status: result.status, result };
    }
    // The engine may take a while to let go; to its caller the job is over.
    if (live?.controller.signal.aborted) return { ...common, status: "CANCELLED" };
    if (row.state === "accepted") return { ...common, status: "IN_QUEUE" };
    return { ...common, status: "IN_PROGRESS", ...(live?.progress && { progress: live.progress }) };
  }

  async wait(id: string, waitMs: number, { signal }: { signal: AbortSignal }): Promise<JobView | undefined> {
    const live = this.#queue.find(id);
    if (live && !(this.#stopping && !live.leased)) {
      const enough = new AbortController();
      await Promise.race([live.settled.promise, pause(waitMs, { signal: AbortSignal.any([signal, enough.signal]) })]);
      enough.abort();
    }
    return this.view(id);
  }

  async stream(id: string): Promise<StreamPart | undefined> {
    // Looked at before the pieces are: a final status then means that these were the last.
    const view = this.view(id);
    const row = this.#parts.journal.find(this.name, id);
    return view && row && { view, chunks: await this.#streams.take(row.key) };
  }

  cancel(id: string): JobView | undefined {
    const live = this.#queue.find(id);
    // Once its result is fixed, that is how it ended, though its caller may not have it yet.
    if (live?.leased && this.#parts.journal.find(this.name, id)?.status === null) live.controller.abort();
    else if (live && !live.leased) this.#cancelWaiting([live]);
    return this.view(id);
  }

  async purge(): Promise<number> {
    let removed = 0;
    const all = this.#queue.allWaiting();
    for (let at = 0; at < all.length; at += purgedAtOnce) {
      const still = all.slice(at, at + purgedAtOnce).filter((live) => !live.leased && this.#queue.find(live.id) === live);
      this.#cancelWaiting(still);
      removed += still.length;
      await pause(0);
    }
    // With a concurrency above the engines' slots some are handed out and wait all the same; last, because others would take their places.
    const isIdle = ({ id, controller }: Live) => !controller.signal.aborted && this.#parts.journal.find(this.name, id)?.state === "accepted";
    const idle = this.#queue.allLeased().filter(isIdle);
    for (const { controller } of idle) controller.abort();
    return removed + idle.length;
  }

  counts(): JobCounts {
    return { jobs: { ...this.#ended, inProgress: this.#queue.running, inQueue: this.#queue.waiting }, engines: this.#parts.pool.counts() };
  }

  fitness(): "ready" | "starting" | "dead" {
    if (this.#stopping) return "dead";
    if (this.#parts.pool.isAnyReady) return "ready";
    return this.#parts.areEnginesDead() ? "dead" : "starting";
  }

  #cancelWaiting(jobs: readonly Live[]): void {
    const { journal, finisher } = this.#parts;
    const rows = jobs.flatMap(({ id }) => journal.find(this.name, id) ?? []);
    journal.transaction(() => {
      for (const row of rows) {
        if (row.status === null) finisher.fail(row, cancelled);
        finisher.acknowledge(row);
      }
    });
    this.#ended.failed += rows.length;
    for (const live of jobs) this.#settle(live);
  }

  #settle(live: Live): void {
    this.#streams.forget(live.key);
    this.#queue.remove(live);
    this.#parts.outbox.look();
  }

  /** Callers whose job will not be begun in this life are told so; running jobs may still end. */
  #stop(): void {
    this.#stopping = true;
    for (const live of this.#queue.allWaiting()) live.settled.resolve();
  }
}
