import type { FettleEvent, StampedEvent } from "./event.ts";

export type Observer = (event: StampedEvent) => void;

/** One stream of events: emit numbers and stamps, observers are called in order, the last `keep` stay for late readers. */
export class EventBus {
  readonly #observers = new Set<Observer>();
  readonly #kept: StampedEvent[] = [];
  readonly #keep: number;
  #seq = 0;

  constructor({ keep = 1000 }: { keep?: number } = {}) {
    this.#keep = keep;
  }

  get seq(): number {
    return this.#seq;
  }

  emit(event: FettleEvent): StampedEvent {
    const stamped: StampedEvent = { ...event, seq: ++this.#seq, atMs: performance.now(), time: new Date().toISOString() };
    this.#kept.push(stamped);
    if (this.#kept.length > this.#keep) this.#kept.shift();
    for (const observer of this.#observers) observer(stamped);
    return stamped;
  }

  /** Calls the observer for each event from now on; the returned function ends that. */
  observe(observer: Observer): () => void {
    this.#observers.add(observer);
    return () => void this.#observers.delete(observer);
  }

  /** The kept events after number `seq`, oldest first; a gap at the front means that they are gone. */
  since(seq: number): readonly StampedEvent[] {
    return this.#kept.filter((event) => event.seq > seq);
  }

  /** Resolves with the first event, from now on, that the test accepts; rejects with the signal's reason. */
  until(accepts: (event: StampedEvent) => boolean, { signal }: { signal?: AbortSignal } = {}): Promise<StampedEvent> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const onAbort = () => {
        end();
        reject(signal?.reason);
      };
      const end = this.observe((event) => {
        if (!accepts(event)) return;
        end();
        signal?.removeEventListener("abort", onAbort);
        resolve(event);
      });
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }
}
