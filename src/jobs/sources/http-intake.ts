import { randomUUID } from "node:crypto";
import type { HttpSourceConfig } from "../../config/schema/sources.ts";
import { reasonOf } from "../../errors/fettle-error.ts";
import type { Envelope } from "../envelope.ts";
import type { JobFeed } from "../job-feed.ts";
import type { JobFault, JobInput } from "../job.ts";
import type { Journal, JournalRow } from "../journal.ts";
import { jobOf } from "../source-loop.ts";
import { webhookFault, webhookOf } from "../webhooks/webhook-url.ts";
import type { JobView, Submission } from "./http-desk.ts";
import { fingerprintOf } from "./http-identity.ts";
import type { Pace } from "./http-pace.ts";
import type { HttpQueue } from "./http-queue.ts";

export interface HttpIntakeParts {
  readonly source: string;
  readonly config: HttpSourceConfig;
  readonly journal: Journal;
  readonly feed: JobFeed;
  readonly queue: HttpQueue;
  readonly pace: Pace;
  /** What is wrong with a job, where that can be seen before it is accepted. */
  readonly check?: ((job: Pick<JobInput, "input" | "extra">) => JobFault | undefined) | undefined;
  readonly view: (id: string) => JobView | undefined;
  readonly isStopping: () => boolean;
}

/** The door of the HTTP source: a job is taken, known already, or refused with a reason; an ended one may come in again. */
export class HttpIntake {
  readonly #parts: HttpIntakeParts;

  constructor(parts: HttpIntakeParts) {
    this.#parts = parts;
  }

  async submit(envelope: Envelope & { type: "job" }, text: string): Promise<Submission> {
    const fingerprint = envelope.id === undefined ? undefined : fingerprintOf(envelope);
    const known = envelope.id === undefined ? undefined : this.#parts.journal.find(this.#parts.source, envelope.id);
    if (known) return this.#known(known, fingerprint);
    const fault = webhookFault(envelope.extra["webhook"], this.#parts.config.webhook);
    if (fault) return { type: "refused", kind: "invalid", path: "webhook", failure: { code: "job.invalid", message: fault } };
    const wrong = this.#parts.check?.(envelope);
    if (wrong) return { type: "refused", kind: "invalid", ...(wrong.path !== undefined && { path: wrong.path }), failure: wrong };
    const refused = this.#refusal(text.length);
    if (refused) return refused;
    const job = { source: this.#parts.source, id: envelope.id ?? randomUUID(), receivedAt: Date.now() };
    try {
      const webhook = webhookOf(envelope.extra["webhook"], this.#parts.config.webhook);
      const { row } = this.#parts.journal.accept(job, text, { isPromised: true, keepsInput: !bringsKeys(envelope), fingerprint, webhook });
      return await this.#enqueue(row);
    } catch (error) {
      return this.#notWritten(error);
    }
  }

  async retry(id: string): Promise<Submission | undefined> {
    const { journal, config } = this.#parts;
    const row = journal.find(this.#parts.source, id);
    if (!row) return undefined;
    const refuse = (code: "job.not-finished" | "job.input-gone", reason: string): Submission => {
      return { type: "refused", kind: "conflict", failure: { code, message: `Cannot run job ${id} again: ${reason}.` } };
    };
    if (row.state !== "delivered" || this.#parts.queue.find(id)) return refuse("job.not-finished", "it has not ended yet");
    const refused = this.#refusal(row.inputBytes);
    if (refused) return refused;
    try {
      const text = journal.envelope(row.key);
      const webhook = text === undefined ? undefined : webhookOf(jobOf(row, text).extra["webhook"], config.webhook);
      if (!journal.repeat(row.key, Date.now(), { webhook })) return refuse("job.input-gone", "its input is not kept any more");
      return await this.#enqueue(row);
    } catch (error) {
      return this.#notWritten(error);
    }
  }

  /** The id is taken: by the same job, or by another one. Without a fingerprint nobody can tell, and it counts as the same. */
  #known(row: JournalRow, fingerprint: string | undefined): Submission {
    const view = this.#parts.view(row.id);
    if (view && (row.fingerprint === null || row.fingerprint === fingerprint)) return { type: "accepted", view };
    const message = `Cannot accept the job: the id ${row.id.slice(0, 80)} belongs to a job with another body.`;
    return { type: "refused", kind: "conflict", path: "id", failure: { code: "job.id-reused", message } };
  }

  #refusal(bytes: number): (Submission & { type: "refused" }) | undefined {
    if (this.#parts.isStopping()) {
      return {
        type: "refused",
        kind: "busy",
        retryAfterSeconds: 5,
        failure: { code: "job.shutting-down", message: "Cannot accept the job: fettle is shutting down." },
      };
    }
    if (this.#parts.queue.hasRoomFor(bytes)) return undefined;
    const message = `Cannot accept the job: ${this.#parts.queue.waiting} jobs are waiting already.`;
    return {
      type: "refused",
      kind: "busy",
      retryAfterSeconds: this.#parts.pace.retryAfterSeconds(this.#parts.queue.running),
      failure: { code: "job.queue-full", message },
    };
  }

  #notWritten(error: unknown): Submission {
    const message = `Cannot accept the job: the journal cannot be written (${reasonOf(error)}).`;
    return { type: "refused", kind: "busy", retryAfterSeconds: 30, failure: { code: "result.cannot-store", message } };
  }

  /** It may run at once; its caller hears of it when the disk has it. */
  async #enqueue(row: JournalRow): Promise<Submission> {
    this.#parts.queue.add(row);
    this.#parts.feed.queued(row.id, this.#parts.source);
    await this.#parts.journal.settled();
    return { type: "accepted", view: { id: row.id, status: "IN_QUEUE", retries: 0, ageMs: 0 } };
  }
}

/** Another one's keys are forgotten with the job's end, and with them the way to run it once more. */
function bringsKeys({ extra }: Envelope & { type: "job" }): boolean {
  return extra["s3Config"] !== undefined && extra["s3Config"] !== null;
}
