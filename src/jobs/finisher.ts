import { rm } from "node:fs/promises";
import type { EngineOutput } from "../engines/engine.ts";
import { catalog, type ErrorCode } from "../errors/catalog.ts";
import type { FettleEvent } from "../events/event.ts";
import type { Journal, JournalRow } from "./journal.ts";
import { parseRecord, RecordKeeper, type RequestPoints } from "./record.ts";
import { type Beside, seal, sealError, type Sealed } from "./seal.ts";
import type { BodyStyle } from "./source.ts";
import type { TerminalResult } from "./terminal-result.ts";

/** A job that ends without an output, and why. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  /** The error word for word as the caller shall get it. */
  readonly text?: string;
  /** The field or node that is wrong, such as `input.steps`. */
  readonly path?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface Timing {
  readonly delayMs: number;
  readonly executionMs: number;
}

/** How a result is written, and what is known of its job. */
export interface Writing {
  readonly record?: RecordKeeper;
  /** The job wants its record beside the output. */
  readonly meta?: boolean;
  /** See `Source.bodyStyle`. */
  readonly style?: BodyStyle | undefined;
  /** Its caller was told that it is cancelled: whatever comes of it in spite of that, this is how it ends. */
  readonly isCancelled?: () => boolean;
}

export const cancelled: Failure = { code: "job.cancelled", message: "The job was cancelled by its caller." };

const noTime: Timing = { delayMs: 0, executionMs: 0 };

/** Kept delivered results may take this much of the disk together; the oldest go first. */
const keptBytes = 256 * 1024 * 1024;
const sweepEveryMs = 30_000;

/** Fixes terminal results: body on disk, row in the journal, event on the bus. Also forgets delivered ones in time. */
export class Finisher {
  readonly #journal: Journal;
  readonly #emit: (event: FettleEvent) => void;
  readonly #keepMs: number;
  /** What was fixed and is not yet delivered. */
  readonly #ended = new Map<number, { readonly status: TerminalResult["status"]; readonly code: string | undefined; readonly points: RequestPoints }>();
  #sweep: ReturnType<typeof setTimeout> | undefined;

  constructor({ journal, emit, keepMs }: { journal: Journal; emit: (event: FettleEvent) => void; keepMs: number }) {
    this.#journal = journal;
    this.#emit = emit;
    this.#keepMs = keepMs;
  }

  async complete(row: JournalRow, output: EngineOutput, timing: Timing, writing: Writing = {}): Promise<TerminalResult> {
    const record = this.#recordOf(row, writing);
    record.reach("done");
    record.warn(...output.warnings);
    const body = { output: output.answer, ...this.#beside(record, timing, writing, output.wantsRefresh) };
    const sealed = await seal(this.#journal.bodyPath(row.key), body);
    if (writing.isCancelled?.()) return this.fail(row, cancelled, timing, writing);
    return this.#finish(row, sealed, { status: "COMPLETED", ...(output.wantsRefresh && { wantsRefresh: true }) }, timing, record);
  }

  fail(row: JournalRow, why: Failure, timing: Timing = noTime, writing: Writing = {}): TerminalResult {
    const failure = writing.isCancelled?.() ? cancelled : why;
    const record = this.#failed(row, failure, writing);
    const sealed = sealError(this.#journal.bodyPath(row.key), errorText(failure), this.#beside(record, timing, writing, false));
    return this.#finishFailed(row, sealed, failure, timing, record);
  }

  /** A failure with what there is in spite of it: both are in the body. */
  async failWith(row: JournalRow, failure: Failure, output: EngineOutput, timing: Timing, writing: Writing = {}): Promise<TerminalResult> {
    const record = this.#failed(row, failure, writing);
    record.warn(...output.warnings);
    const body = { output: output.answer, error: errorText(failure), ...this.#beside(record, timing, writing, output.wantsRefresh) };
    const sealed = await seal(this.#journal.bodyPath(row.key), body);
    if (writing.isCancelled?.()) return this.fail(row, cancelled, timing, writing);
    return this.#finishFailed(row, sealed, failure, timing, record, output.wantsRefresh);
  }

  acknowledge(row: JournalRow): void {
    const now = new Date();
    const sent = now.toISOString();
    this.#journal.acknowledge(row.key, { sent });
    const ended = this.#ended.get(row.key);
    this.#ended.delete(row.key);
    const { status = row.status ?? "COMPLETED", code = row.code ?? undefined } = ended ?? {};
    const points = ended?.points ?? (row.record === null ? undefined : parseRecord(row.record)?.points);
    this.#emit({
      type: "job.sent",
      job: row.id,
      source: row.source,
      status,
      ...(code !== undefined && { code }),
      totalMs: Math.max(0, now.getTime() - row.receivedAt),
      points: { received: new Date(row.receivedAt).toISOString(), ...points, sent },
    });
    this.#planSweep();
  }

  /**
   * Forgets what need not be kept any longer, and comes back while something is kept. Resolves when the files are gone: hundreds of
   * large ones take the file system a while, and nothing waits for that. What a sudden end leaves goes at the next start.
   */
  async sweep(now = Date.now()): Promise<void> {
    const keys = this.#journal.expire(now - this.#keepMs, keptBytes);
    if (this.#journal.keepsDelivered()) this.#planSweep();
    for (const key of keys) for (const path of this.#journal.filesOf(key)) await rm(path, { force: true }).catch(() => {});
  }

  close(): void {
    clearTimeout(this.#sweep);
  }

  #recordOf({ receivedAt, record }: JournalRow, writing: Writing): RecordKeeper {
    return writing.record ?? new RecordKeeper({ receivedAt, former: record });
  }

  #failed(row: JournalRow, { code, path, details }: Failure, writing: Writing): RecordKeeper {
    const record = this.#recordOf(row, writing);
    record.reach("done");
    record.add({ error: { code, ...(path !== undefined && { path }), ...(details && { details }) } });
    return record;
  }

  #beside(record: RecordKeeper, timing: Timing, { meta = false, style }: Writing, wantsRefresh = false): Beside {
    const isRunpod = style !== undefined;
    return {
      ...(meta && { meta: JSON.stringify({ ...record.toJSON(), ...rounded(timing) }), metaInside: isRunpod }),
      ...((style === "runpod-refresh" || (isRunpod && wantsRefresh)) && { stopPod: true }),
    };
  }

  #finishFailed(row: JournalRow, sealed: Sealed, failure: Failure, timing: Timing, record: RecordKeeper, wantsRefresh = false): TerminalResult {
    const { code, path } = failure;
    const status = code === "job.cancelled" ? "CANCELLED" : "FAILED";
    const error = { status, code, ...(path !== undefined && { errorPath: path }), ...(wantsRefresh && { wantsRefresh }) } as const;
    return this.#finish(row, sealed, error, timing, record, failure.message);
  }

  #finish(
    row: JournalRow,
    { sizeBytes, small }: Sealed,
    end: Pick<TerminalResult, "status" | "code" | "errorPath" | "wantsRefresh">,
    timing: Timing,
    record: RecordKeeper,
    message = "",
  ): TerminalResult {
    const result: TerminalResult = { jobId: row.id, ...end, bodyPath: this.#journal.bodyPath(row.key), sizeBytes, ...rounded(timing) };
    this.#journal.finish(row.key, result, { at: Date.now(), body: small, record: JSON.stringify(record) });
    this.#ended.set(row.key, { status: end.status, code: end.code, points: record.points });
    const { engine } = record;
    const about = { job: row.id, source: row.source, ...(engine !== undefined && { engine }) };
    const engineMs = result.executionMs;
    if (end.status === "COMPLETED") this.#emit({ type: "job.done", ...about, engineMs, sizeBytes });
    else if (end.status === "CANCELLED") this.#emit({ type: "job.cancelled", ...about, engineMs });
    else {
      const path = end.errorPath === undefined ? {} : { path: end.errorPath };
      this.#emit({ type: "job.failed", ...about, code: end.code ?? "engine.failed", message, ...path, engineMs });
    }
    return result;
  }

  #planSweep(): void {
    this.#sweep ??= setTimeout(
      () => {
        this.#sweep = undefined;
        void this.sweep();
      },
      Math.max(1, Math.min(sweepEveryMs, this.#keepMs)),
    ).unref();
  }
}

/** `engine.rejected: Cannot run the job: … Hint.` */
export function errorText({ code, message, text }: Failure): string {
  if (text !== undefined) return text;
  return `${code}: ${message} ${catalog[code].hint}`;
}

function rounded({ delayMs, executionMs }: Timing): Timing {
  return { delayMs: Math.max(0, Math.round(delayMs)), executionMs: Math.max(0, Math.round(executionMs)) };
}
