export interface GatheringOptions<Item> {
  readonly maxSize: number;
  readonly maxWaitMs: number;
  /** Groups that may run at once. */
  readonly lanes: number;
  /** Never rejects. */
  readonly run: (items: readonly Item[]) => Promise<void>;
}

interface Waiting<Item> {
  readonly item: Item;
  /** Items with the same key may share a run; undefined: alone. */
  readonly key: string | undefined;
  readonly sinceMs: number;
}

/**
 * A queue that is emptied in groups: the oldest item, and what waits with the same key. A group goes when it is full, when its oldest
 * member has waited long enough, or at once when its item can have no company. Nobody is overtaken but by a mate of the oldest.
 */
export class Gathering<Item> {
  readonly #options: GatheringOptions<Item>;
  readonly #waiting: Waiting<Item>[] = [];
  #running = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: GatheringOptions<Item>) {
    this.#options = options;
  }

  /** Gives a function that takes the item out again: false when its run has begun. */
  add(item: Item, key: string | undefined): () => boolean {
    const waiting = { item, key, sinceMs: performance.now() };
    this.#waiting.push(waiting);
    // Items that arrive in one turn of the loop shall find each other.
    queueMicrotask(() => this.#pump());
    return () => {
      const at = this.#waiting.indexOf(waiting);
      if (at >= 0) this.#waiting.splice(at, 1);
      return at >= 0;
    };
  }

  #pump(): void {
    const { maxSize, maxWaitMs, lanes, run } = this.#options;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#running < lanes) {
      const [oldest] = this.#waiting;
      if (!oldest) return;
      const group = oldest.key === undefined ? [oldest] : this.#waiting.filter(({ key }) => key === oldest.key).slice(0, maxSize);
      const restMs = maxWaitMs - (performance.now() - oldest.sinceMs);
      if (oldest.key !== undefined && group.length < maxSize && restMs > 0) {
        this.#timer = setTimeout(() => this.#pump(), restMs);
        return;
      }
      for (const one of group) this.#waiting.splice(this.#waiting.indexOf(one), 1);
      this.#running += 1;
      void run(group.map(({ item }) => item)).finally(() => {
        this.#running -= 1;
        this.#pump();
      });
    }
  }
}
