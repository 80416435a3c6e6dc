import type { Remedy } from "../engines/engine.ts";
import type { ErrorCode } from "../errors/catalog.ts";

/**
 * The points of a request that seed 003 asks to be watched, wall clock (ISO). The same names stand in log lines, metrics and docs.
 * Of a job that is tried again, each point is the first time.
 */
export interface RequestPoints {
  /** The source handed it over. */
  readonly received: string;
  /** The worker took it up. */
  readonly started?: string;
  /** An engine was found that is ready and has a slot free. */
  readonly serviceCheck?: string;
  /** The request went to the engine. */
  readonly inferenceStart?: string;
  /** Its terminal result was fixed. */
  readonly done?: string;
  /** The other side has the result. Never in what is sent, of course. */
  readonly sent?: string;
}

export const pointNames = ["received", "started", "serviceCheck", "inferenceStart", "done", "sent"] as const satisfies readonly (keyof RequestPoints)[];

/** One try of the job on an engine. */
export interface AttemptRecord {
  readonly number: number;
  readonly engine: string;
  /** Wall clock, ISO; unknown for an attempt that a dead worker took with it. */
  readonly start?: string;
  readonly end?: string;
  /** Why it gave no output; left out when it did. */
  readonly cause?: string;
  /** What was done before the next try, or to the engine after the last. */
  readonly remedy?: Remedy;
}

/** What became of a job and when: kept in the journal, shown by status, and beside the output when the job says `meta: true`. */
export interface JobRecord {
  readonly points: RequestPoints;
  readonly attempts: readonly AttemptRecord[];
  readonly warnings: readonly string[];
  /** `hit`: answered from the response cache, no engine was asked. */
  readonly cache?: "hit" | "stored";
  /** How many jobs shared the engine's call, this one included. */
  readonly batch?: number;
  readonly error?: { readonly code: ErrorCode; readonly path?: string; readonly details?: Readonly<Record<string, unknown>> };
}

const mostWarnings = 50;

/** A job's record while it is written. */
export class RecordKeeper {
  readonly #points: { -readonly [Point in keyof RequestPoints]: RequestPoints[Point] };
  readonly #attempts: { -readonly [Key in keyof AttemptRecord]: AttemptRecord[Key] }[];
  readonly #warnings: string[];
  #more: Pick<JobRecord, "cache" | "batch" | "error"> = {};

  /** `former`: what an earlier life noted; `lost`: the attempt that died with it. */
  constructor({ receivedAt, former, lost }: { receivedAt: number; former: string | null; lost?: { number: number; engine: string } | undefined }) {
    const record = former === null ? undefined : parseRecord(former);
    this.#points = { ...record?.points, received: new Date(receivedAt).toISOString() };
    this.#attempts = [...(record?.attempts ?? [])];
    this.#warnings = [...(record?.warnings ?? [])];
    if (!lost) return;
    const last = this.#attempts.at(-1);
    if (last?.number === lost.number) last.cause ??= "worker.lost";
    else this.#attempts.push({ ...lost, cause: "worker.lost" });
  }

  /** The first time counts. */
  reach(point: keyof RequestPoints, at = new Date()): void {
    this.#points[point] ??= at.toISOString();
  }

  begin(number: number, engine: string): void {
    this.#attempts.push({ number, engine, start: new Date().toISOString() });
  }

  /** Ends the attempt that was begun last. */
  end({ cause, remedy }: { cause?: string; remedy?: Remedy | undefined } = {}): void {
    const last = this.#attempts.at(-1);
    if (!last || last.end !== undefined) return;
    last.end = new Date().toISOString();
    if (cause !== undefined) last.cause = cause;
    if (remedy !== undefined) last.remedy = remedy;
  }

  warn(...messages: readonly string[]): void {
    for (const message of messages) if (this.#warnings.length < mostWarnings && !this.#warnings.includes(message)) this.#warnings.push(message);
  }

  add(more: Pick<JobRecord, "cache" | "batch" | "error">): void {
    this.#more = { ...this.#more, ...more };
  }

  get points(): RequestPoints {
    return { ...this.#points };
  }

  /** That of the last attempt. */
  get engine(): string | undefined {
    return this.#attempts.at(-1)?.engine;
  }

  /** `attempt 1 on gpu0: engine.lost; attempt 2 on gpu0: engine.stalled`, for the error of a job that was tried in vain. */
  get tried(): string {
    return this.#attempts.map(({ number, engine, cause }) => `attempt ${number} on ${engine}: ${cause ?? "interrupted"}`).join("; ");
  }

  toJSON(): JobRecord {
    return { points: { ...this.#points }, attempts: this.#attempts.map((one) => ({ ...one })), warnings: [...this.#warnings], ...this.#more };
  }
}

/** A record as the journal holds it; undefined when it is none (another version's, or damaged). */
export function parseRecord(text: string): JobRecord | undefined {
  try {
    const { points, attempts, warnings, ...more } = JSON.parse(text) as Partial<JobRecord>;
    if (typeof points?.received !== "string" || !Array.isArray(attempts) || !Array.isArray(warnings)) return undefined;
    return { points, attempts: attempts as readonly AttemptRecord[], warnings: warnings as readonly string[], ...more };
  } catch {
    return undefined;
  }
}
