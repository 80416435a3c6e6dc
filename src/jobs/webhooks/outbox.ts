// jobs/webhooks/ owns the way of a job's result to the address that its caller named: signed, from the journal's outbox, tried again
// for hours. Takes: the journal. Gives: events. It must never hold up a job, hold a body in memory, or show an address's credentials.
import type { HttpSourceConfig } from "../../config/schema/sources.ts";
import { reasonOf } from "../../errors/fettle-error.ts";
import type { FettleEvent } from "../../events/event.ts";
import { backoffMs } from "../../util/backoff.ts";
import { headOf } from "../job-head.ts";
import type { Journal } from "../journal.ts";
import type { DueWebhook } from "../journal-webhooks.ts";
import type { PostOutcome } from "./post.ts";

export interface WebhookOutboxParts {
  readonly config: HttpSourceConfig["webhook"];
  readonly journal: Journal;
  readonly emit: (event: FettleEvent) => void;
  /** The pause after the first failed try; tests shorten it. Default 5 s. */
  readonly firstPauseMs?: number;
}

const mostAtOnce = 8;
const growth = { factor: 3, maxMs: 3_600_000, jitter: 0.2 };
/** A host that cannot be reached is left alone for a while by all its webhooks, so that it costs no more than one try now and then. */
const rest = { firstMs: 1000, factor: 2, maxMs: 300_000, jitter: 0.2 };
/** A receiver that says no (401, 404 …) may be mended within the hour; then it means it. */
const mostRefusals = 5;
/** Results that wait for their receivers may take this much of the disk; the oldest are given up first. */
const mostWaitingBytes = 2_000_000_000;
const boundEveryMs = 60_000;
const mostBounded = 1000;

interface Host {
  sending: number;
  failures: number;
  /** `performance.now` of the end of its rest. */
  restsUntil: number;
}

/** Sends what is due, few at a time, and wakes up when the next one is. */
export class WebhookOutbox {
  readonly #parts: WebhookOutboxParts;
  readonly #hosts = new Map<string, Host>();
  readonly #sending = new Map<number, Promise<void>>();
  readonly #closing = new AbortController();
  #isOpen = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #boundedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: WebhookOutboxParts) {
    this.#parts = parts;
  }

  open(): void {
    this.#isOpen = true;
    this.look();
  }

  /** Something may be due. Never throws and never waits: the work is done in a turn of its own. */
  look(): void {
    if (this.#isOpen) this.#wakeIn(0);
  }

  /** What is being sent is broken off; it stays in the outbox for the next life. */
  async close(): Promise<void> {
    this.#isOpen = false;
    clearTimeout(this.#timer);
    this.#closing.abort();
    await Promise.allSettled(this.#sending.values());
  }

  #wakeIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#pump(), ms).unref();
  }

  #pump(): void {
    if (!this.#isOpen) return;
    try {
      const { webhooks } = this.#parts.journal;
      this.#bound();
      for (let room = mostAtOnce - this.#sending.size; room > 0; room = mostAtOnce - this.#sending.size) {
        const [due] = webhooks.due(Date.now(), mostAtOnce + 1, { without: this.#busyHosts() }).filter(({ jobKey }) => !this.#sending.has(jobKey));
        if (!due) break;
        this.#begin(due);
      }
      this.#plan();
    } catch {
      // The disk is in trouble; whoever writes results says so. Webhooks can wait.
      this.#wakeIn(rest.maxMs);
    }
  }

  #plan(): void {
    const now = performance.now();
    const ends = [...this.#hosts.values()].map(({ restsUntil }) => restsUntil - now).filter((ms) => ms > 0);
    const nextAt = this.#sending.size < mostAtOnce ? this.#parts.journal.webhooks.nextAt({ without: this.#busyHosts() }) : undefined;
    // Those being sent are due as well; their ends wake this up.
    if (nextAt !== undefined && this.#sending.size === 0) ends.push(Math.max(1, nextAt - Date.now()));
    else if (nextAt !== undefined) ends.push(Math.max(1000, nextAt - Date.now()));
    if (ends.length > 0) this.#wakeIn(Math.min(...ends, rest.maxMs));
  }

  #busyHosts(): string[] {
    const now = performance.now();
    return [...this.#hosts].filter(([, host]) => host.sending >= this.#parts.config.perHost || host.restsUntil > now).map(([name]) => name);
  }

  #begin(due: DueWebhook): void {
    const host = this.#hosts.get(due.host) ?? { sending: 0, failures: 0, restsUntil: 0 };
    this.#hosts.set(due.host, host);
    host.sending += 1;
    const sending = this.#send(due)
      .catch((error: unknown): PostOutcome => ({ type: "again", reason: reasonOf(error) }))
      .then((outcome) => {
        host.sending -= 1;
        if (!this.#closing.signal.aborted) this.#settle(due, outcome, host);
      })
      // The journal cannot be written: it is tried again, which a receiver knows by the id.
      .catch(() => void (host.restsUntil = performance.now() + rest.maxMs))
      .finally(() => {
        this.#sending.delete(due.jobKey);
        if (host.sending === 0 && host.failures === 0) this.#hosts.delete(due.host);
        this.look();
      });
    this.#sending.set(due.jobKey, sending);
  }

  async #send(due: DueWebhook): Promise<PostOutcome> {
    const { journal, config } = this.#parts;
    const row = journal.find(due.source, due.id);
    const result = row && journal.resultOf(row);
    if (!row || !result || !journal.hasBody(row)) return { type: "never", reason: "the result is gone" };
    // Loaded with the first webhook: most workers send none.
    const { postWebhook } = await import("./post.ts");
    const head = headOf(result, { retries: Math.max(0, row.attempts - 1) });
    const { secret, timeout: timeoutMs, allowPrivate, allowHosts } = config;
    return await postWebhook({ ...due, head, result, secret, timeoutMs, allowPrivate, allowHosts }, { signal: this.#closing.signal });
  }

  #settle(due: DueWebhook, outcome: PostOutcome, host: Host): void {
    const { journal, config, emit } = this.#parts;
    const about = { job: due.id, source: due.source, host: due.host };
    if (outcome.type === "delivered") {
      host.failures = 0;
      journal.webhooks.remove(due);
      return emit({ type: "webhook.sent", ...about, tries: due.tries + 1 });
    }
    // An answer, whatever it says, tells that the host is there.
    host.failures = outcome.type === "again" ? host.failures + 1 : 0;
    if (host.failures > 0) host.restsUntil = performance.now() + backoffMs(host.failures, { ...rest, firstMs: Math.min(rest.firstMs, this.#firstPauseMs) });
    const now = Date.now();
    const pauseMs = Math.max(backoffMs(due.tries + 1, { ...growth, firstMs: this.#firstPauseMs }), outcome.type === "again" ? (outcome.afterMs ?? 0) : 0);
    const isOver =
      outcome.type === "never" || (outcome.type === "refused" && due.refusals + 1 >= mostRefusals) || now + pauseMs > due.finishedAt + config.retryFor;
    if (isOver) journal.webhooks.remove(due);
    else journal.webhooks.postpone(due, { nextAt: now + pauseMs, refused: outcome.type === "refused" });
    emit({ type: "webhook.failed", ...about, tries: due.tries + 1, reason: outcome.reason, retryInMs: isOver ? 0 : Math.round(pauseMs) });
  }

  get #firstPauseMs(): number {
    return this.#parts.firstPauseMs ?? 5000;
  }

  /** A receiver that is away for hours must not fill the disk with results that are kept for it. */
  #bound(): void {
    const now = performance.now();
    if (now - this.#boundedAt < boundEveryMs) return;
    this.#boundedAt = now;
    const { journal, config } = this.#parts;
    for (const due of journal.webhooks.beyond(mostWaitingBytes)) this.#giveUp(due, "too many results wait for their webhooks");
    // A host that hangs gets few tries, so most of what waits for it comes to its end here. What was never tried because fettle was off
    // gets its one try.
    const isHopeless = ({ tries, host }: DueWebhook) => tries > 0 || (this.#hosts.get(host)?.failures ?? 0) > 0;
    for (const due of journal.webhooks.olderThan(Date.now() - config.retryFor, mostBounded).filter(isHopeless)) {
      if (!this.#sending.has(due.jobKey)) this.#giveUp(due, "its time is over");
    }
  }

  #giveUp(due: DueWebhook, reason: string): void {
    this.#parts.journal.webhooks.remove(due);
    const { id: job, source, host, tries } = due;
    this.#parts.emit({ type: "webhook.failed", job, source, host, tries, reason, retryInMs: 0 });
  }
}
