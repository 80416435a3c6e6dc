import type { EngineOutput } from "../engines/engine.ts";
import { catalog, type ErrorCode } from "../errors/catalog.ts";
import type { FettleEvent } from "../events/event.ts";
import type { Journal, JournalRow } from "./journal.ts";
import { sealError, sealOutput } from "./seal.ts";
import type { TerminalResult } from "./terminal-result.ts";

/** A job that ends without an output, and why. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  /** The error word for word as the caller shall get it. */
  readonly text?: string;
}

export interface Timing {
  readonly delayMs: number;
  readonly executionMs: number;
}

/** Kept delivered results may take this much of the disk together; the oldest go first. */
const keptBytes = 256 * 1024 * 1024;
const sweepEveryMs = 30_000;

/** Fixes terminal results: body on disk, row in the journal, event on the bus. Also forgets delivered ones in time. */
export class Finisher {
  readonly #journal: Journal;
  readonly #emit: (event: FettleEvent) => void;
  readonly #keepMs: number;
  #sweep: ReturnType<typeof setTimeout> | undefined;

  constructor({ journal, emit, keepMs }: { journal: Journal; emit: (event: FettleEvent) => void; keepMs: number }) {
    this.#journal = journal;
    this.#emit = emit;
    this.#keepMs = keepMs;
  }

  async complete(row: JournalRow, output: EngineOutput, timing: Timing): Promise<TerminalResult> {
    const bodyPath = this.#journal.bodyPath(row.key);
    const { sizeBytes, small } = await sealOutput(bodyPath, output.answer);
    const result: TerminalResult = { jobId: row.id, status: "COMPLETED", bodyPath, sizeBytes, ...rounded(timing) };
    this.#journal.finish(row.key, result, { at: Date.now(), body: small });
    this.#emit({ type: "job.done", job: row.id, source: row.source, engineMs: result.executionMs, sizeBytes });
    return result;
  }

  fail(row: JournalRow, failure: Failure, timing: Timing = { delayMs: 0, executionMs: 0 }): TerminalResult {
    const bodyPath = this.#journal.bodyPath(row.key);
    const status = failure.code === "job.cancelled" ? "CANCELLED" : "FAILED";
    const { sizeBytes, small } = sealError(bodyPath, errorText(failure));
    const result: TerminalResult = { jobId: row.id, status, bodyPath, sizeBytes, code: failure.code, ...rounded(timing) };
    this.#journal.finish(row.key, result, { at: Date.now(), body: small });
    const { id: job, source } = row;
    this.#emit(status === "CANCELLED" ? { type: "job.cancelled", job, source } : { type: "job.failed", job, source, ...failure });
    return result;
  }

  acknowledge(row: JournalRow): void {
    this.#journal.acknowledge(row.key);
    this.#emit({ type: "job.sent", job: row.id, source: row.source, totalMs: Date.now() - row.receivedAt });
    this.#planSweep();
  }

  /** Removes what need not be kept any longer, and comes back while something is kept. */
  sweep(now = Date.now()): void {
    for (const key of this.#journal.expire(now - this.#keepMs, keptBytes)) this.#journal.removeFiles(key);
    if (this.#journal.keepsDelivered()) this.#planSweep();
  }

  close(): void {
    clearTimeout(this.#sweep);
  }

  #planSweep(): void {
    this.#sweep ??= setTimeout(
      () => {
        this.#sweep = undefined;
        this.sweep();
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
