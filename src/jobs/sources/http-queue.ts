import type { Progress } from "../../engines/engine.ts";
import { createDeferred, type Deferred } from "../../util/deferred.ts";
import type { JournalRow } from "../journal.ts";

/** A job between its acceptance and its end, as this life holds it. Its input waits in the journal. */
export interface Live {
  readonly key: number;
  readonly id: string;
  readonly bytes: number;
  readonly controller: AbortController;
  /** Resolved at the job's end, or when it is given back to the journal. */
  readonly settled: Deferred<void>;
  leased: boolean;
  progress: Omit<Progress, "preview"> | undefined;
}

/** Inputs waiting in the journal may take this much disk together. */
const maxWaitingBytes = 1_000_000_000;

/** The accepted jobs of this life, in their order; memory holds only ids. */
export class HttpQueue {
  readonly #live = new Map<string, Live>();
  readonly #waiting = new Set<Live>();
  readonly #most: number;
  #waitingBytes = 0;
  #arrived: (() => void) | undefined;

  constructor(most: number) {
    this.#most = most;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  get running(): number {
    return this.#live.size - this.#waiting.size;
  }

  find(id: string): Live | undefined {
    return this.#live.get(id);
  }

  hasRoomFor(bytes: number): boolean {
    return this.#waiting.size < this.#most && this.#waitingBytes + bytes <= maxWaitingBytes;
  }

  add(row: Pick<JournalRow, "key" | "id" | "inputBytes">): Live {
    const { key, id, inputBytes: bytes } = row;
    const live: Live = { key, id, bytes, controller: new AbortController(), settled: createDeferred(), leased: false, progress: undefined };
    this.#live.set(id, live);
    this.#waiting.add(live);
    this.#waitingBytes += bytes;
    this.#arrived?.();
    return live;
  }

  /** The next one to run; undefined when the signal aborts. */
  async next({ signal }: { signal: AbortSignal }): Promise<Live | undefined> {
    while (!signal.aborted) {
      const [live] = this.#waiting;
      if (live) {
        this.#leave(live);
        live.leased = true;
        return live;
      }
      await new Promise<void>((resolve) => {
        const done = () => {
          this.#arrived = undefined;
          signal.removeEventListener("abort", done);
          resolve();
        };
        this.#arrived = done;
        signal.addEventListener("abort", done, { once: true });
      });
    }
    return undefined;
  }

  /** It has ended, or will not run. Another job of the same id that came meanwhile stays. */
  remove(live: Live): void {
    this.#leave(live);
    if (this.#live.get(live.id) === live) this.#live.delete(live.id);
    live.settled.resolve();
  }

  /** Those that are not begun, oldest first. */
  allWaiting(): readonly Live[] {
    return [...this.#waiting];
  }

  /** Those that were handed out, to run or to wait for an engine. */
  allLeased(): readonly Live[] {
    return [...this.#live.values()].filter(({ leased }) => leased);
  }

  #leave(live: Live): void {
    if (this.#waiting.delete(live)) this.#waitingBytes -= live.bytes;
  }
}
