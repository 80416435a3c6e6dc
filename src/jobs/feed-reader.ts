import type { FeedMessage } from "./job-feed.ts";

/** What a reader that does not read may keep waiting; beyond it, it is sent away and may come again with its last id. */
const most = { messages: 500, bytes: 2_000_000 };

/**
 * One listener's own line of messages. It never holds up who speaks: of what waits, a preview makes room for the next preview of its
 * job, and progress for newer progress, because only the latest is worth reading; states are kept until the line is full.
 */
export class FeedReader {
  readonly wantsPreviews: boolean;
  readonly job: string | undefined;
  readonly #onClose: () => void;
  #line: FeedMessage[] = [];
  #bytes = 0;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor({ job, wantsPreviews, onClose }: { job: string | undefined; wantsPreviews: boolean; onClose: () => void }) {
    this.job = job;
    this.wantsPreviews = wantsPreviews;
    this.#onClose = onClose;
  }

  /** Messages that wait to be read. */
  get waiting(): number {
    return this.#line.length;
  }

  push(message: FeedMessage): void {
    if (this.#closed || (this.job !== undefined && message.job !== this.job)) return;
    if (message.event === "preview" && !this.wantsPreviews) return;
    if (message.event !== "state") this.#drop((one) => one.event === message.event && one.job === message.job);
    if (this.#isFullWith(message)) this.#drop((one) => one.event === "preview");
    if (this.#isFullWith(message)) this.#drop((one) => one.event === "progress");
    if (this.#isFullWith(message)) {
      // A preview alone is no reason to lose the reader.
      if (message.event !== "preview") this.close();
      return;
    }
    this.#line.push(message);
    this.#bytes += message.data.length;
    this.#wake?.();
  }

  /** The next message; `quiet` when none came for so long; undefined when the reader was closed and everything is read. */
  async next(quietMs: number): Promise<FeedMessage | "quiet" | undefined> {
    if (this.#line.length === 0 && !this.#closed) {
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          this.#wake = undefined;
          resolve();
        };
        const timer = setTimeout(done, quietMs);
        this.#wake = done;
      });
    }
    const message = this.#line.shift();
    if (message) this.#bytes -= message.data.length;
    return message ?? (this.#closed ? undefined : "quiet");
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
    this.#wake?.();
  }

  #isFullWith(message: FeedMessage): boolean {
    return this.#line.length >= most.messages || this.#bytes + message.data.length > most.bytes;
  }

  #drop(isUnneeded: (message: FeedMessage) => boolean): void {
    this.#line = this.#line.filter((one) => !isUnneeded(one));
    this.#bytes = this.#line.reduce((sum, { data }) => sum + data.length, 0);
  }
}
