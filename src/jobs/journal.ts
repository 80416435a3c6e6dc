import { statSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { openDatabase } from "./journal-database.ts";
import type { JournalPlace } from "./journal-place.ts";
import { writeSmall } from "./seal.ts";
import type { TerminalResult, TerminalStatus } from "./terminal-result.ts";

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
}

export interface Accepted {
  readonly row: JournalRow;
  /** False when this id of this source was in the journal already; then `row` is what was there. */
  readonly isNew: boolean;
}

const columns = "key, source, id, state, receivedAt, attempts, losses, engine, status, code, sizeBytes, delayMs, executionMs, errorPath, record";

/**
 * What was accepted and how far it came, in SQLite. `finish` and a promised `accept` are on disk when they return (0.2 to several ms);
 * the others survive a killed process, though not a power cut.
 */
export class Journal {
  readonly place: JournalPlace;
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #synced = true;

  private constructor(database: DatabaseSync, place: JournalPlace) {
    this.#database = database;
    this.place = place;
  }

  /** Waits for a former worker that is just ending; refuses when another one keeps the journal. */
  static async open(place: JournalPlace, options: { signal: AbortSignal; onWarning: (message: string) => void }): Promise<Journal> {
    return new Journal(await openDatabase(place, options), place);
  }

  /**
   * `isPromised`: the caller is told that the job is safe, so the disk must have it. A platform keeps its own copy until it is
   * answered; there a row that survives our death is enough. With `engine`, the first attempt begins in the same write.
   */
  accept(
    job: { source: string; id: string; receivedAt: number },
    envelope: string,
    { engine, isPromised = false }: { engine?: string | undefined; isPromised?: boolean } = {},
  ): Accepted {
    this.#sync(isPromised);
    const insert = `INSERT INTO job (source, id, receivedAt, envelope, state, attempts, engine) VALUES (?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (source, id) DO NOTHING RETURNING ${columns}`;
    const row = this.#prepare(insert).get(job.source, job.id, job.receivedAt, envelope, engine ? "running" : "accepted", engine ? 1 : 0, engine ?? null);
    if (row) return { row: asRow(row), isNew: true };
    const existing = this.find(job.source, job.id);
    if (!existing) throw new Error(`The journal neither took nor has job ${job.id}.`);
    return { row: existing, isNew: false };
  }

  /** A finished job is run once more: its former result is forgotten. */
  renew(key: number, receivedAt: number, envelope: string): void {
    this.#sync(false);
    this.#prepare(
      `UPDATE job SET state = 'accepted', receivedAt = ?, envelope = ?, attempts = 0, losses = 0, engine = NULL, status = NULL, code = NULL, errorPath = NULL, record = NULL, body = NULL, finishedAt = NULL WHERE key = ?`,
    ).run(receivedAt, envelope, key);
  }

  /** An engine is about to get the job; returns the number of this attempt, from 1. */
  start(key: number, engine: string): number {
    this.#sync(false);
    const row = this.#prepare("UPDATE job SET state = 'running', attempts = attempts + 1, engine = ? WHERE key = ? RETURNING attempts").get(engine, key);
    return Number(row?.["attempts"] ?? 1);
  }

  /** An engine was lost, or had to be restarted, while it had the job; this counts as a death of the worker does. */
  lose(key: number): number {
    this.#sync(false);
    return Number(this.#prepare("UPDATE job SET losses = losses + 1 WHERE key = ? RETURNING losses").get(key)?.["losses"] ?? 1);
  }

  /** What was tried so far, so that the next life knows it. */
  note(key: number, record: string): void {
    this.#sync(false);
    this.#prepare("UPDATE job SET record = ? WHERE key = ?").run(record, key);
  }

  /** The terminal result is fixed, on disk: a small body goes in with it, a large one must be there before. */
  finish(key: number, result: TerminalResult, { at, body, record }: { at: number; body?: Uint8Array | undefined; record?: string | undefined }): void {
    this.#sync(true);
    const { status, code, errorPath, sizeBytes, delayMs, executionMs } = result;
    this.#prepare(
      `UPDATE job SET state = 'finished', envelope = NULL, status = ?, code = ?, errorPath = ?, sizeBytes = ?, delayMs = ?, executionMs = ?, finishedAt = ?,
       body = ?, record = coalesce(?, record) WHERE key = ?`,
    ).run(status, code ?? null, errorPath ?? null, sizeBytes, delayMs, executionMs, at, body ?? null, record ?? null, key);
  }

  /** The other side has it. `sent`: the last point of the record, ISO. */
  acknowledge(key: number, { sent }: { sent?: string } = {}): void {
    this.#sync(false);
    if (sent === undefined) this.#prepare("UPDATE job SET state = 'delivered' WHERE key = ?").run(key);
    else this.#prepare("UPDATE job SET state = 'delivered', record = json_set(record, '$.points.sent', ?) WHERE key = ?").run(sent, key);
  }

  /** Given back unrun: it waits for its turn again, and the attempt that was broken off is no loss. */
  requeue(key: number): void {
    this.#sync(false);
    this.#prepare("UPDATE job SET state = 'accepted' WHERE key = ? AND state = 'running'").run(key);
  }

  find(source: string, id: string): JournalRow | undefined {
    const row = this.#prepare(`SELECT ${columns} FROM job WHERE source = ? AND id = ?`).get(source, id);
    return row && asRow(row);
  }

  /** The envelope as it was accepted; gone once the job has finished. */
  envelope(key: number): string | undefined {
    const text = this.#prepare("SELECT envelope FROM job WHERE key = ?").get(key)?.["envelope"];
    return typeof text === "string" ? text : undefined;
  }

  /** What a former life left unfinished or undelivered, oldest first. What was running then has been lost once more. */
  recover(): readonly JournalRow[] {
    this.#sync(true);
    this.#database.exec("UPDATE job SET losses = losses + 1 WHERE state = 'running'");
    return this.#prepare(`SELECT ${columns} FROM job WHERE state != 'delivered' ORDER BY key`).all().map(asRow);
  }

  count(source: string, state: JournalState): number {
    return Number(this.#prepare("SELECT count(*) AS n FROM job WHERE source = ? AND state = ?").get(source, state)?.["n"] ?? 0);
  }

  /** Removes delivered jobs that finished before `before`, and the oldest ones beyond `maxBytes`; returns their keys, whose bodies may go. */
  expire(before: number, maxBytes: number): readonly number[] {
    this.#sync(false);
    const old = `SELECT key FROM (SELECT key, finishedAt, sum(sizeBytes) OVER (ORDER BY finishedAt DESC, key DESC) AS total
      FROM job WHERE state = 'delivered') WHERE finishedAt < ? OR total > ?`;
    return this.#prepare(`DELETE FROM job WHERE key IN (${old}) RETURNING key`)
      .all(before, maxBytes)
      .map((row) => Number(row["key"]));
  }

  keepsDelivered(): boolean {
    return this.#prepare("SELECT 1 AS one FROM job WHERE state = 'delivered' LIMIT 1").get() !== undefined;
  }

  /** Every key whose body may be needed. */
  keys(): ReadonlySet<number> {
    return new Set(
      this.#prepare("SELECT key FROM job")
        .all()
        .map((row) => Number(row["key"])),
    );
  }

  bodyPath(key: number): string {
    return join(this.place.resultsDir, `${key}.json`);
  }

  /** The terminal result of a finished or delivered job. */
  resultOf(row: JournalRow): TerminalResult | undefined {
    if (row.status === null) return undefined;
    const { id, status, code, errorPath, sizeBytes, delayMs, executionMs } = row;
    const error = { ...(code !== null && { code }), ...(errorPath !== null && { errorPath }) };
    return { jobId: id, status, bodyPath: this.bodyPath(row.key), sizeBytes, ...error, delayMs, executionMs };
  }

  /** Whether the result's file is whole; a small one that a power cut took is put back. */
  hasBody(row: JournalRow): boolean {
    const path = this.bodyPath(row.key);
    if (statSync(path, { throwIfNoEntry: false })?.size === row.sizeBytes) return true;
    const body = this.#prepare("SELECT body FROM job WHERE key = ?").get(row.key)?.["body"];
    if (!(body instanceof Uint8Array)) return false;
    writeSmall(path, body);
    return true;
  }

  close(): void {
    this.#statements.clear();
    this.#database.close();
  }

  /** FULL waits for the disk at each commit, NORMAL only for the kernel, which a killed process does not need. */
  #sync(full: boolean): void {
    if (full === this.#synced) return;
    this.#database.exec(`PRAGMA synchronous = ${full ? "FULL" : "NORMAL"}`);
    this.#synced = full;
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) this.#statements.set(sql, (statement = this.#database.prepare(sql)));
    return statement;
  }
}

function asRow(row: Record<string, unknown>): JournalRow {
  return { ...row } as unknown as JournalRow;
}
