import { randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import type { Held, RunJobParts } from "./run-job.ts";
import { runJob } from "./run-job.ts";
import { parseEnvelope } from "./envelope.ts";
import { errorText } from "./finisher.ts";
import type { JobFault, JobInput } from "./job.ts";
import type { JournalRow } from "./journal.ts";
import type { Slot } from "./pool.ts";
import { sealError } from "./seal.ts";
import type { Lease, Source } from "./source.ts";
import type { TerminalResult } from "./terminal-result.ts";

export interface SourceLoopParts extends RunJobParts {
  /** It names files to be fetched first: no engine waits for that. */
  readonly fetchesInputs?: (job: JobInput) => boolean;
  readonly source: Source;
  /** The process is about to end: results not delivered by now stay in the journal. */
  readonly exit: AbortSignal;
}

/** Results on their way out do not hold up the next job, but a platform that takes none must not be fed for ever. */
const undeliveredBeyondConcurrency = 4;

/** One source: lease, run, deliver. The next job is taken the moment a place is free, while the last result is still being sent. */
export class SourceLoop {
  readonly #parts: SourceLoopParts;
  readonly #source: Source;
  readonly #carried = new Set<Promise<void>>();
  /** By journal key: what is here now, and its end. */
  readonly #held = new Map<number, Promise<void>>();
  #running = 0;
  #wake: (() => void) | undefined;

  constructor(parts: SourceLoopParts) {
    this.#parts = parts;
    this.#source = parts.source;
  }

  /** Runs until the source has ended or `stopping` aborts, and everything leased has come to its end. */
  async run(recovered: readonly JournalRow[]): Promise<void> {
    const { stopping } = this.#parts;
    const onStop = () => this.#wake?.();
    stopping.addEventListener("abort", onStop, { once: true });
    const backlog = [...recovered];
    while (!stopping.aborted) {
      await this.#untilRoom();
      if (stopping.aborted) break;
      const row = backlog.shift();
      if (row) {
        this.#carry(this.#readopt(row), row);
        continue;
      }
      const lease = await this.#lease();
      if (lease) for (const one of [lease, ...(this.#source.rest?.() ?? [])]) this.#take(one);
      else if (lease === null) break;
    }
    while (this.#carried.size > 0) await Promise.all(this.#carried);
    stopping.removeEventListener("abort", onStop);
  }

  /** Null: the source has ended. Undefined: no job this time. */
  async #lease(): Promise<Lease | null | undefined> {
    const { pool, stopping } = this.#parts;
    if (this.#source.takeWhen === "always") {
      const lease = await this.#source.lease({ signal: stopping, wanted: this.#source.concurrency - this.#running });
      return lease ?? (stopping.aborted ? undefined : null);
    }
    await pool.untilFree({ signal: stopping, by: this.#source.name });
    if (stopping.aborted) return undefined;
    // An open request for a job is taken back when the last engine is gone: the job would only wait here.
    const gone = new AbortController();
    const unwatch = pool.watch(() => void (pool.isAnyReady || gone.abort()));
    const onStop = () => gone.abort();
    stopping.addEventListener("abort", onStop, { once: true });
    try {
      const wanted = Math.max(1, Math.min(this.#source.concurrency - this.#running, pool.freeSlots));
      const lease = await this.#source.lease({ signal: gone.signal, wanted });
      return lease ?? (gone.signal.aborted ? undefined : null);
    } finally {
      unwatch();
      stopping.removeEventListener("abort", onStop);
    }
  }

  async #untilRoom(): Promise<void> {
    const { concurrency } = this.#source;
    const isFull = () => this.#running >= concurrency || this.#carried.size >= concurrency + undeliveredBeyondConcurrency;
    while (isFull() && !this.#parts.stopping.aborted) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
  }

  /** Journals a leased job (with its first attempt, when an engine is free) and carries it on. */
  #take(lease: Lease): void {
    const { journal, pool, log, fetchesInputs } = this.#parts;
    const { job } = lease;
    if (lease.key !== undefined) {
      const row = journal.find(job.source, job.id);
      if (row) this.#carry(lease, row);
      return;
    }
    const slot = job.fault || fetchesInputs?.(job) ? undefined : pool.tryAcquire();
    try {
      // What could not be read must not become a job in the next life.
      const envelope = JSON.stringify(job.fault ? job.extra : { ...job.extra, input: job.input });
      const { row, isNew } = journal.accept(job, envelope, { engine: slot?.engine.name });
      if (isNew) return this.#carry(lease, row, slot);
      slot?.release();
      this.#repeat(lease, row, envelope);
    } catch (error) {
      slot?.release();
      log.error(`Cannot journal job ${job.id}: ${reasonOf(error)}.`, { job: job.id });
      this.#refuse(lease, `Cannot accept the job: the journal cannot be written (${reasonOf(error)}).`);
    }
  }

  /** A job that cannot be journalled must not reach an engine; its caller learns that at once. */
  #refuse(lease: Lease, message: string): void {
    const bodyPath = join(tmpdir(), `fettle-${randomUUID()}.json`);
    const code = "result.cannot-store" as const;
    const refused = (async () => {
      if (await this.#source.release(lease)) return;
      const { sizeBytes } = sealError(bodyPath, errorText({ code, message }));
      await this.#source.deliver(
        lease,
        { jobId: lease.job.id, status: "FAILED", bodyPath, sizeBytes, code, delayMs: 0, executionMs: 0 },
        { signal: this.#parts.exit },
      );
    })()
      .catch((error: unknown) => this.#parts.log.error(`Cannot refuse job ${lease.job.id}: ${reasonOf(error)}.`, { job: lease.job.id }))
      .finally(() => {
        rmSync(bodyPath, { force: true });
        this.#carried.delete(refused);
        this.#wake?.();
      });
    this.#carried.add(refused);
  }

  /** The same id again: still held here, or finished before. */
  #repeat(lease: Lease, row: JournalRow, envelope: string): void {
    const { journal, log } = this.#parts;
    const held = this.#held.get(row.key);
    if (row.status === null) {
      log.warn(`Job ${row.id} was handed out again while it is here; it runs once.`, { job: row.id });
      return;
    }
    if (held) {
      // Its result is on the way, but may have arrived before this second request for it: answer that one too, afterwards.
      const again = async () => {
        await held;
        this.#carried.delete(later);
        this.#repeat(lease, journal.find(row.source, row.id) ?? row, envelope);
        this.#wake?.();
      };
      const later = again();
      this.#carried.add(later);
      return;
    }
    if (this.#source.onRepeat === "deliver" && row.status === "COMPLETED") return this.#carry(lease, row);
    journal.renew(row.key, lease.job.receivedAt, envelope);
    const renewed = journal.find(row.source, row.id);
    if (renewed) this.#carry(lease, renewed);
  }

  #readopt(row: JournalRow): Lease {
    const text = this.#parts.journal.envelope(row.key);
    return this.#source.adopt(jobOf(row, text));
  }

  #carry(lease: Lease, row: JournalRow, slot?: Slot): void {
    const { emit } = this.#parts;
    this.#running += 1;
    let runs = true;
    const onSlotFree = () => {
      if (!runs) return;
      runs = false;
      this.#running -= 1;
      this.#wake?.();
    };
    emit({ type: "job.received", job: row.id, source: row.source, recovered: row.attempts > (slot ? 1 : 0) || row.state === "finished" });
    const carried = this.#toItsEnd({ row, lease, source: this.#source, slot, onSlotFree })
      .catch((error: unknown) => this.#parts.log.error(`Cannot finish job ${row.id}: ${reasonOf(error)}.`, { job: row.id }))
      .finally(() => {
        onSlotFree();
        slot?.release();
        this.#held.delete(row.key);
        this.#carried.delete(carried);
        this.#wake?.();
      });
    this.#carried.add(carried);
    this.#held.set(row.key, carried);
  }

  async #toItsEnd(held: Held): Promise<void> {
    const { finisher, log } = this.#parts;
    let result: TerminalResult | undefined;
    try {
      result = held.row.status === null ? await runJob(held, this.#parts) : this.#keptResult(held.row);
    } catch (error) {
      const failure = {
        code: error instanceof FettleError ? error.code : ("result.cannot-store" as const),
        message: `Cannot store the result: ${reasonOf(error)}.`,
      };
      log.error(failure.message, { job: held.row.id });
      try {
        result = finisher.fail(held.row, failure, undefined, { style: this.#source.bodyStyle, isCancelled: () => held.lease.signal.aborted });
      } catch {
        // Not even that fits on the disk: the caller is told without the journal's help.
        this.#refuse(held.lease, failure.message);
      }
    }
    held.onSlotFree();
    if (result) await this.#deliver(held, result);
  }

  /** The result fixed before; its body may have been lost with a disk, then it can only be said so. */
  #keptResult(row: JournalRow): TerminalResult | undefined {
    if (this.#parts.journal.hasBody(row)) return this.#parts.journal.resultOf(row);
    return this.#parts.finisher.fail(row, { code: "result.cannot-store", message: "Cannot deliver the result: its file is gone or damaged." });
  }

  async #deliver({ row, lease }: Held, result: TerminalResult): Promise<void> {
    const { journal, finisher, emit, exit, log } = this.#parts;
    // Fixed on the disk before anybody sees it: after a power cut the same result must be sent again.
    await journal.settled().catch((error: unknown) => log.error(`The journal may not outlast a power cut: ${reasonOf(error)}.`, { job: row.id }));
    let delivery = await this.#source.deliver(lease, result, { signal: exit });
    if (delivery.type === "refused") {
      const replaced = finisher.fail(row, { code: "result.not-delivered", message: delivery.message }, result, { style: this.#source.bodyStyle });
      delivery = await this.#source.deliver(lease, replaced, { signal: exit });
    }
    if (delivery.type === "delivered") return finisher.acknowledge(row);
    emit({ type: "source.failed", source: row.source, message: delivery.message, retryInMs: 0 });
  }
}

/** A journalled job as its source would have handed it over. */
export function jobOf(row: JournalRow, envelope: string | undefined): JobInput {
  const { id, source, receivedAt } = row;
  if (envelope === undefined) return { id, source, input: {}, extra: {}, receivedAt };
  const parsed = parseEnvelope(envelope, { maxDepth: Number.POSITIVE_INFINITY, maxBytes: Number.POSITIVE_INFINITY });
  if (parsed.type === "job") return { id, source, input: parsed.input, extra: parsed.extra, receivedAt };
  return { id, source, input: undefined, extra: {}, receivedAt, fault: parsed.fault satisfies JobFault };
}
