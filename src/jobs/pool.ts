import type { Engine } from "../engines/engine.ts";

/** One free place on a ready engine, held until `release`. */
export interface Slot {
  readonly engine: Engine;
  release(): void;
}

interface Member {
  readonly engine: Engine;
  ready: boolean;
  busy: number;
  /** Rises with each job given to anyone; of equals, the one that waited longest is next. */
  lastTurn: number;
}

interface Waiter {
  /** Whose job it is: a source's name. */
  readonly by: string;
  give(slot: Slot): void;
}

/** The only place that chooses an engine: ready, with a free slot, least loaded, in turn among equals. Waiters are served in order. */
export class Pool {
  readonly #members = new Map<string, Member>();
  readonly #waiters = new Set<Waiter>();
  readonly #watchers = new Set<() => void>();
  /** By source: the turn in which a waiting job of it got its slot last, and the last turn before it was told that a job could run. */
  readonly #served = new Map<string, number>();
  readonly #told = new Map<string, number>();
  #turn = 0;

  /** Not ready at first; readiness is somebody else's word (see readiness.ts). */
  add(engine: Engine): void {
    this.#members.set(engine.name, { engine, ready: false, busy: 0, lastTurn: 0 });
    engine.watchSlots?.(() => this.#changed());
  }

  setReady(name: string, ready: boolean): void {
    const member = this.#members.get(name);
    if (!member || member.ready === ready) return;
    member.ready = ready;
    this.#changed();
  }

  get engines(): readonly Engine[] {
    return [...this.#members.values()].map(({ engine }) => engine);
  }

  get isAnyReady(): boolean {
    return [...this.#members.values()].some(({ ready }) => ready);
  }

  /** Jobs that could run at once now. */
  get freeSlots(): number {
    return [...this.#members.values()].reduce((sum, { ready, busy, engine }) => sum + (ready ? Math.max(0, engine.slots - busy) : 0), 0);
  }

  isIdle(name: string): boolean {
    return this.#members.get(name)?.busy === 0;
  }

  counts(): { readonly ready: number; readonly busy: number; readonly total: number } {
    const all = [...this.#members.values()];
    return { ready: all.filter(({ ready }) => ready).length, busy: all.reduce((sum, { busy }) => sum + busy, 0), total: all.length };
  }

  /** A slot at once, or undefined. Never overtakes a waiter. */
  tryAcquire(): Slot | undefined {
    return this.#waiters.size > 0 ? undefined : this.#take();
  }

  /** Waits for a slot; undefined when the signal aborts first. */
  acquire({ signal, by = "" }: { signal: AbortSignal; by?: string }): Promise<Slot | undefined> {
    if (signal.aborted) return Promise.resolve(undefined);
    const now = this.tryAcquire();
    if (now) return Promise.resolve(now);
    return new Promise((resolve) => {
      const onAbort = () => {
        this.#waiters.delete(waiter);
        resolve(undefined);
      };
      const waiter: Waiter = {
        by,
        give: (slot) => {
          this.#waiters.delete(waiter);
          signal.removeEventListener("abort", onAbort);
          resolve(slot);
        },
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiters.add(waiter);
    });
  }

  /**
   * Resolves when a job taken now could run at once, or when the signal aborts. Also when a waiting job of somebody else (not `by`) got
   * a slot since the last time: a source that always has jobs waiting would otherwise keep every other one out. What is taken then waits in line.
   */
  async untilFree({ signal, by = "" }: { signal: AbortSignal; by?: string }): Promise<void> {
    const isFree = () => this.#waiters.size === 0 && this.#best() !== undefined;
    const wasPassedOver = () => [...this.#served].some(([other, turn]) => other !== by && turn > (this.#told.get(by) ?? 0));
    while (!signal.aborted && !isFree() && !wasPassedOver()) {
      await new Promise<void>((resolve) => {
        const done = () => {
          this.#watchers.delete(done);
          signal.removeEventListener("abort", done);
          resolve();
        };
        this.#watchers.add(done);
        signal.addEventListener("abort", done, { once: true });
      });
    }
    this.#told.set(by, this.#turn);
  }

  /** Calls `observer` after each change until the returned function is called. */
  watch(observer: () => void): () => void {
    this.#watchers.add(observer);
    return () => void this.#watchers.delete(observer);
  }

  #best(): Member | undefined {
    let best: Member | undefined;
    for (const member of this.#members.values()) {
      if (!member.ready || member.busy >= member.engine.slots) continue;
      if (!best || isBefore(member, best)) best = member;
    }
    return best;
  }

  #take(): Slot | undefined {
    const member = this.#best();
    if (!member) return undefined;
    member.busy += 1;
    member.lastTurn = ++this.#turn;
    let held = true;
    const release = () => {
      if (!held) return;
      held = false;
      member.busy -= 1;
      this.#changed();
    };
    return { engine: member.engine, release };
  }

  #changed(): void {
    for (const waiter of this.#waiters) {
      const slot = this.#take();
      if (!slot) break;
      waiter.give(slot);
      this.#served.set(waiter.by, this.#turn);
    }
    for (const watcher of this.#watchers) watcher();
  }
}

/** By share of slots, so that a large engine gets as much more as it can take. */
function isBefore(one: Member, other: Member): boolean {
  const [a, b] = [one.busy / one.engine.slots, other.busy / other.engine.slots];
  return a === b ? one.lastTurn < other.lastTurn : a < b;
}
