import { randomBytes } from "node:crypto";
import type { Progress } from "../engines/engine.ts";
import type { StampedEvent } from "../events/event.ts";
import { FeedReader } from "./feed-reader.ts";

/** One line of the feed, ready to be sent: `data` is JSON. Previews have no id: they are not repeated. */
export interface FeedMessage {
  readonly id?: string;
  readonly event: "state" | "progress" | "preview";
  readonly job: string;
  readonly data: string;
}

/** So many past messages can be sent again to a reader that comes back. */
const kept = 1000;
const mostReaders = 100;
/** A handler's own note is passed on up to this size. */
const mostNoteChars = 65_536;

/**
 * What happens to jobs, for whoever listens: states (from the events of all sources) and progress with previews (from sources that
 * are told). An observer: nothing waits for it, and nothing is made for it while nobody listens.
 */
export class JobFeed {
  /** Another life counts anew; ids of the former one are not mistaken for its own. */
  readonly #life = randomBytes(4).toString("hex");
  readonly #readers = new Set<FeedReader>();
  readonly #past: FeedMessage[] = [];
  readonly #onReaders: ((count: number) => void) | undefined;
  #seq = 0;

  /** `onReaders` hears how many listen, each time that changes. */
  constructor({ onReaders }: { onReaders?: (count: number) => void } = {}) {
    this.#onReaders = onReaders;
  }

  /** For the event bus. */
  readonly observe = (event: StampedEvent): void => {
    const state = stateOf(event);
    if (state) this.#say("state", state.job, { id: state.job, source: state.source, ...state.says, time: event.time });
  };

  /** Accepted, and waits. */
  queued(job: string, source: string): void {
    this.#say("state", job, { id: job, source, status: "IN_QUEUE", time: new Date().toISOString() });
  }

  progress(job: string, source: string, { preview, note, ...progress }: Progress): void {
    if (this.#readers.size === 0) return;
    const isShort = note !== undefined && (JSON.stringify(note)?.length ?? 0) <= mostNoteChars;
    this.#say("progress", job, { id: job, source, ...progress, ...(isShort && { note }) });
    if (preview && this.wantsPreviews(job)) this.#send({ event: "preview", job, data: JSON.stringify({ id: job, ...preview }) });
  }

  /** Somebody listens to this job's previews. */
  wantsPreviews(job: string): boolean {
    for (const reader of this.#readers) if (reader.wantsPreviews && (reader.job === undefined || reader.job === job)) return true;
    return false;
  }

  /**
   * Begins to listen. `missed`: what happened after the reader's last id; undefined when that is not known any more.
   * Undefined when too many listen already.
   */
  listen(options: {
    job?: string | undefined;
    wantsPreviews: boolean;
    lastId?: string | undefined;
  }): { readonly reader: FeedReader; readonly missed: readonly FeedMessage[] | undefined } | undefined {
    if (this.#readers.size >= mostReaders) return undefined;
    const { job, wantsPreviews, lastId } = options;
    const onClose = () => {
      this.#readers.delete(reader);
      this.#onReaders?.(this.#readers.size);
    };
    const reader: FeedReader = new FeedReader({ job, wantsPreviews, onClose });
    this.#readers.add(reader);
    this.#onReaders?.(this.#readers.size);
    return { reader, missed: this.#since(lastId)?.filter((message) => job === undefined || message.job === job) };
  }

  close(): void {
    for (const reader of this.#readers) reader.close();
  }

  #say(event: "state" | "progress", job: string, data: unknown): void {
    const message: FeedMessage = { id: `${this.#life}-${++this.#seq}`, event, job, data: JSON.stringify(data) };
    this.#past.push(message);
    if (this.#past.length > kept) this.#past.shift();
    this.#send(message);
  }

  #send(message: FeedMessage): void {
    for (const reader of this.#readers) reader.push(message);
  }

  #since(lastId: string | undefined): readonly FeedMessage[] | undefined {
    const [, life, seq] = /^([0-9a-f]+)-(\d{1,15})$/.exec(lastId ?? "") ?? [];
    const first = this.#seq - this.#past.length + 1;
    if (life !== this.#life || Number(seq) < first - 1 || Number(seq) > this.#seq) return undefined;
    return this.#past.slice(Number(seq) - first + 1);
  }
}

function stateOf(event: StampedEvent): { job: string; source: string; says: object } | undefined {
  switch (event.type) {
    case "job.received":
      return { ...event, says: { status: "IN_QUEUE", recovered: event.recovered } };
    case "job.started":
      return { ...event, says: { status: "IN_PROGRESS", engine: event.engine, attempt: event.attempt } };
    case "job.retried":
      return { ...event, says: { status: "IN_QUEUE", attempt: event.attempt, cause: event.cause } };
    case "job.done":
      return { ...event, says: { status: "COMPLETED", executionTime: event.engineMs, sizeBytes: event.sizeBytes } };
    case "job.failed":
      return { ...event, says: { status: "FAILED", errorCode: event.code } };
    case "job.cancelled":
      return { ...event, says: { status: "CANCELLED" } };
    default:
      return undefined;
  }
}
