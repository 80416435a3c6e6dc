import type { JobInput } from "../job.ts";
import type { Lease } from "../source.ts";
import { safeId } from "./runpod-id.ts";
import { type ProgressOptions, RunpodProgress } from "./runpod-progress.ts";

interface Held {
  readonly controller: AbortController;
  progress: RunpodProgress | undefined;
  hasStreamed: boolean;
}

export interface HeldOptions {
  readonly everyMs: number;
  readonly post: (job: string, body: string, options: Parameters<ProgressOptions["post"]>[1]) => Promise<void>;
}

/** A stop may overtake its job: the two come on connections of their own. */
const rememberStopMs = 5000;
const mostStops = 256;

/** Every job from its arrival until the platform has its result: what pings name, what a stop finds. */
export class RunpodHeld {
  readonly #options: HeldOptions;
  readonly #jobs = new Map<string, Held>();
  /** Stops for jobs that are not here, and when they came. */
  readonly #early = new Map<string, number>();

  constructor(options: HeldOptions) {
    this.#options = options;
  }

  get ids(): Iterable<string> {
    return this.#jobs.keys();
  }

  get size(): number {
    return this.#jobs.size;
  }

  expect(id: string): void {
    if (this.#jobs.has(id)) return;
    this.#jobs.set(id, { controller: new AbortController(), progress: undefined, hasStreamed: false });
    const stoppedAt = this.#early.get(id);
    this.#early.delete(id);
    if (stoppedAt !== undefined && performance.now() - stoppedAt < rememberStopMs) this.cancel(id);
  }

  lease(job: JobInput): Lease {
    this.expect(job.id);
    const held = this.#jobs.get(job.id) as Held;
    held.progress ??= new RunpodProgress({ everyMs: this.#options.everyMs, post: (body, options) => this.#options.post(job.id, body, options) });
    return { job, signal: held.controller.signal };
  }

  progressOf(id: string): RunpodProgress | undefined {
    return this.#jobs.get(id)?.progress;
  }

  noteStreamed(id: string): void {
    const held = this.#jobs.get(id);
    if (held) held.hasStreamed = true;
  }

  hasStreamed(id: string): boolean {
    return this.#jobs.get(id)?.hasStreamed ?? false;
  }

  /** By the platform's id. */
  cancel(wire: string): void {
    const id = safeId(wire) ?? wire;
    const held = this.#jobs.get(id);
    if (held) return held.controller.abort();
    this.#early.delete(id);
    this.#early.set(id, performance.now());
    for (const oldest of this.#early.keys()) {
      if (this.#early.size <= mostStops) break;
      this.#early.delete(oldest);
    }
  }

  remove(id: string): void {
    this.#jobs.delete(id);
  }
}
