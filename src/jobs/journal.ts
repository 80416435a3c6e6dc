import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { openDatabase } from "./journal-database.ts";
import type { JournalPlace } from "./journal-place.ts";
import type { Accepted, AcceptOptions, JournalRow, JournalState } from "./journal-row.ts";
import { JournalWebhooks } from "./journal-webhooks.ts";
import { writeSmall } from "./seal.ts";
import type { TerminalResult } from "./terminal-result.ts";
import { WalFlush } from "./wal-flush.ts";

export type { Accepted, AcceptOptions, JournalRow, JournalState } from "./journal-row.ts";

const columns =
  "key, source, id, state, receivedAt, attempts, losses, engine, status, code, sizeBytes, delayMs, executionMs, errorPath, record, inputBytes, fingerprint";

/** A larger envelope is not kept after its job's end, and all kept ones together take no more than this. */
const keptInputBytes = { each: 16_000_000, together: 64_000_000 };

/**
 * What was accepted and how far it came, in SQLite. Everything survives a killed process at once. What must survive a power cut too
 * (a promised `accept`, `finish`, `repeat`) is on the disk when `settled` resolves: wait for that before anybody is told.
 */
export class Journal {
  readonly place: JournalPlace;
  readonly webhooks: JournalWebhooks;
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  /** Undefined on a network volume, whose rollback journal waits for the disk by itself. */
  readonly #wal: WalFlush | undefined;
  #synced = true;
  #inTransaction = false;
  /** Bytes of envelopes kept since they were last counted. */
  #keptInput = 0;

  private constructor(database: DatabaseSync, place: JournalPlace) {
    this.#database = database;
    this.place = place;
    this.webhooks = new JournalWebhooks(database);
    if (place.journalMode !== "wal") return;
    this.#wal = new WalFlush(place.databasePath);
    // A checkpoint holds the loop while it waits for the disk, so it comes seldom: after 16 MB.
    database.exec("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 4000");
  }

  /** Waits for a former worker that is just ending; refuses when another one keeps the journal. */
  static async open(place: JournalPlace, options: { signal: AbortSignal; onWarning: (message: string) => void }): Promise<Journal> {
    return new Journal(await openDatabase(place, options), place);
  }

  /** A platform keeps its own copy of a job until it is answered; there a row that survives our death is enough (`isPromised` false). */
  accept(job: { source: string; id: string; receivedAt: number }, envelope: string, options: AcceptOptions = {}): Accepted {
    const { engine, isPromised = false, keepsInput = false, fingerprint, webhook } = options;
    this.#sync(isPromised);
    const insert = `INSERT INTO job (source, id, receivedAt, envelope, inputBytes, fingerprint, state, attempts, engine) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (source, id) DO NOTHING RETURNING ${columns}`;
    const kept = keepsInput ? envelope.length : 0;
    const begun = [engine ? "running" : "accepted", engine ? 1 : 0, engine ?? null] as const;
    const write = () => {
      const inserted = this.#prepare(insert).get(job.source, job.id, job.receivedAt, envelope, kept, fingerprint ?? null, ...begun);
      if (inserted && webhook !== undefined) this.webhooks.put(Number(inserted["key"]), webhook);
      return inserted;
    };
    const row = webhook === undefined ? write() : this.transaction(write);
    if (row) return { row: asRow(row), isNew: true };
    const existing = this.find(job.source, job.id);
    if (!existing) throw new Error(`The journal neither took nor has job ${job.id}.`);
    return { row: existing, isNew: false };
  }

  /** A finished job is run once more: its former result is forgotten. */
  renew(key: number, receivedAt: number, envelope: string): void {
    this.#sync(false);
    // Whoever reads the former result goes on with what he has open; the next one is a new file.
    for (const path of this.filesOf(key)) rmSync(path, { force: true });
    this.#prepare(
      `UPDATE job SET state = 'accepted', receivedAt = ?, envelope = ?, attempts = 0, losses = 0, engine = NULL, status = NULL, code = NULL, errorPath = NULL, record = NULL, body = NULL, finishedAt = NULL WHERE key = ?`,
    ).run(receivedAt, envelope, key);
  }

  /** A finished job's caller wants it run again, as he sent it. False when its envelope is not kept any more. */
  repeat(key: number, receivedAt: number, { webhook }: { webhook?: string | undefined } = {}): boolean {
    const envelope = this.envelope(key);
    if (envelope === undefined) return false;
    this.#sync(true);
    this.transaction(() => {
      this.renew(key, receivedAt, envelope);
      if (webhook !== undefined) this.webhooks.put(key, webhook);
    });
    return true;
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
      `UPDATE job SET state = 'finished', envelope = CASE WHEN inputBytes BETWEEN 1 AND ${keptInputBytes.each} THEN envelope END, status = ?, code = ?, errorPath = ?, sizeBytes = ?, delayMs = ?, executionMs = ?, finishedAt = ?,
       body = ?, record = coalesce(?, record) WHERE key = ?`,
    ).run(status, code ?? null, errorPath ?? null, sizeBytes, delayMs, executionMs, at, body ?? null, record ?? null, key);
    this.#boundKeptInput(key);
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

  /** The envelope as it was accepted; gone once the job has finished, unless it is kept for another run. */
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
      FROM job WHERE state = 'delivered' AND key NOT IN (SELECT jobKey FROM webhook)) WHERE finishedAt < ? OR total > ?`;
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

  /** Pieces of a streaming job's output, beside its result. */
  streamPath(key: number): string {
    return join(this.place.resultsDir, `${key}.stream`);
  }

  /** A job's result and everything else on disk that belongs to it. */
  filesOf(key: number): readonly string[] {
    return [this.bodyPath(key), this.streamPath(key)];
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

  /** All or nothing, and promised; `work` must not wait for anything. */
  transaction<T>(work: () => T): T {
    if (this.#inTransaction) return work();
    this.#sync(true);
    this.#database.exec("BEGIN");
    this.#inTransaction = true;
    try {
      const result = work();
      this.#database.exec("COMMIT");
      return result;
    } catch (error) {
      this.#database.exec("ROLLBACK");
      throw error;
    } finally {
      this.#inTransaction = false;
    }
  }

  /** Resolves when what was promised until now is on the disk. */
  async settled(): Promise<void> {
    await this.#wal?.settled();
  }

  close(): void {
    void this.#wal?.close().catch(() => {});
    this.webhooks.close();
    this.#statements.clear();
    this.#database.close();
  }

  /** Kept envelopes are counted when a quarter of their room may have been filled since the last time. */
  #boundKeptInput(key: number): void {
    this.#keptInput += Number(this.#prepare("SELECT inputBytes FROM job WHERE key = ?").get(key)?.["inputBytes"] ?? 0);
    if (this.#keptInput < keptInputBytes.together / 4) return;
    this.#keptInput = 0;
    const kept = "SELECT key, sum(inputBytes) OVER (ORDER BY finishedAt DESC, key DESC) AS total FROM job WHERE status IS NOT NULL AND envelope IS NOT NULL";
    this.#prepare(`UPDATE job SET envelope = NULL WHERE key IN (SELECT key FROM (${kept}) WHERE total > ?)`).run(keptInputBytes.together);
  }

  /** FULL waits for the disk at each commit, NORMAL only for the kernel, which a killed process does not need. */
  #sync(full: boolean): void {
    if (this.#wal) {
      if (full) this.#wal.promise();
      return;
    }
    // A transaction keeps the level that it began with.
    if (full === this.#synced || this.#inTransaction) return;
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
