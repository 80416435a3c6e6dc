import { randomUUID } from "node:crypto";
import type { DatabaseSync, StatementSync } from "node:sqlite";

/** A webhook whose job has its terminal result: it is to be sent. */
export interface DueWebhook {
  readonly jobKey: number;
  /** The same in each try, so that the receiver can tell a repeat from a second message. */
  readonly messageId: string;
  readonly url: string;
  /** Name and port, without credentials. */
  readonly host: string;
  readonly tries: number;
  /** Tries that the receiver itself turned down. */
  readonly refusals: number;
  /** When its job had its result; wall clock, ms. */
  readonly finishedAt: number;
  /** Of its job. */
  readonly source: string;
  readonly id: string;
}

const columns = "jobKey, messageId, url, host, tries, refusals, finishedAt, source, id";

/**
 * The outbox of webhooks, beside the jobs in one database: a webhook is written together with its job's acceptance, is due from the
 * moment the job has its result, and is deleted when it was delivered or given up. Nothing is lost between any two of these steps.
 */
export class JournalWebhooks {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** The job's webhook, begun anew under a new message id. Part of the caller's transaction. */
  put(jobKey: number, url: string): void {
    const host = URL.canParse(url) ? new URL(url).host : "";
    this.#prepare("INSERT OR REPLACE INTO webhook (jobKey, messageId, url, host) VALUES (?, ?, ?, ?)").run(jobKey, `msg_${randomUUID()}`, url, host);
  }

  /** What may be sent now, the longest due first; nothing to hosts in `without`. */
  due(now: number, most: number, { without = [] }: { without?: readonly string[] } = {}): readonly DueWebhook[] {
    return this.#prepare(
      `SELECT ${columns} FROM webhook JOIN job ON job.key = jobKey
        WHERE job.status IS NOT NULL AND nextAt <= ? AND host NOT IN (SELECT value FROM json_each(?)) ORDER BY nextAt, jobKey LIMIT ?`,
    )
      .all(now, JSON.stringify(without), most)
      .map((row) => ({ ...row }) as unknown as DueWebhook);
  }

  /** When the next one is due; undefined when none waits. */
  nextAt({ without = [] }: { without?: readonly string[] } = {}): number | undefined {
    const waiting = "webhook JOIN job ON job.key = jobKey WHERE job.status IS NOT NULL AND host NOT IN (SELECT value FROM json_each(?))";
    const at = this.#prepare(`SELECT min(nextAt) AS at FROM ${waiting}`).get(JSON.stringify(without))?.["at"];
    return typeof at === "number" ? at : undefined;
  }

  /** To be tried again at `nextAt`. A job that was begun anew meanwhile has another message, which stays as it is. */
  postpone({ jobKey, messageId }: DueWebhook, { nextAt, refused }: { nextAt: number; refused: boolean }): void {
    this.#prepare("UPDATE webhook SET tries = tries + 1, refusals = refusals + ?, nextAt = ? WHERE jobKey = ? AND messageId = ?").run(
      refused ? 1 : 0,
      nextAt,
      jobKey,
      messageId,
    );
  }

  /** Delivered, or given up. */
  remove({ jobKey, messageId }: Pick<DueWebhook, "jobKey" | "messageId">): void {
    this.#prepare("DELETE FROM webhook WHERE jobKey = ? AND messageId = ?").run(jobKey, messageId);
  }

  /** Those whose jobs ended before, oldest first. */
  olderThan(before: number, most: number): readonly DueWebhook[] {
    return this.#prepare(
      `SELECT ${columns} FROM webhook JOIN job ON job.key = jobKey WHERE job.status IS NOT NULL AND finishedAt < ? ORDER BY finishedAt LIMIT ?`,
    )
      .all(before, most)
      .map((row) => ({ ...row }) as unknown as DueWebhook);
  }

  /** The oldest ones, whose results together take more than `maxBytes` of the disk while they wait. */
  beyond(maxBytes: number): readonly DueWebhook[] {
    return this.#prepare(
      `SELECT * FROM (SELECT ${columns}, sum(sizeBytes) OVER (ORDER BY finishedAt DESC, key DESC) AS total
        FROM webhook JOIN job ON job.key = jobKey WHERE job.status IS NOT NULL) WHERE total > ?`,
    )
      .all(maxBytes)
      .map((row) => ({ ...row }) as unknown as DueWebhook);
  }

  close(): void {
    this.#statements.clear();
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) this.#statements.set(sql, (statement = this.#database.prepare(sql)));
    return statement;
  }
}
