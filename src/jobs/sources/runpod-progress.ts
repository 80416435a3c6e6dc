import type { Progress } from "../../engines/engine.ts";
import { pause } from "../../util/pause.ts";

export interface ProgressOptions {
  /** Between two posts of a step's progress. The first comes this long after the job, so short jobs post nothing. */
  readonly everyMs: number;
  /** Posts one body; its failure is nobody's matter. */
  readonly post: (body: string, options: { signal: AbortSignal }) => Promise<void>;
}

/** What the user's own code reported is wanted sooner. */
const noteEveryMs = 250;
/** An open post is waited for before the result follows: cut off, it might still arrive after it. */
const graceMs = 2000;

/**
 * One job's progress on its way to the platform: the latest at most, one post at a time, and none once the result is on its way.
 * RunPod takes progress that arrives late for the job's state, and the job then never ends (runpod-python #250).
 */
export class RunpodProgress {
  readonly #options: ProgressOptions;
  readonly #closing = new AbortController();
  readonly #beganAt = performance.now();
  #lastAt: number | undefined;
  #next: Progress | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #open: Promise<void> | undefined;
  #ended = false;

  constructor(options: ProgressOptions) {
    this.#options = options;
  }

  offer(progress: Progress): void {
    const isNote = "note" in progress;
    if (this.#ended || (!isNote && this.#next && "note" in this.#next)) return;
    this.#next = progress;
    if (isNote) this.#unplan();
    this.#plan();
  }

  /** Nothing is posted from here on; resolves when nothing is on its way any more. */
  async end(): Promise<void> {
    this.#ended = true;
    this.#unplan();
    this.#next = undefined;
    if (!this.#open) return;
    const enough = new AbortController();
    await Promise.race([this.#open, pause(graceMs, { signal: enough.signal })]);
    enough.abort();
    this.#closing.abort();
  }

  #plan(): void {
    if (this.#timer || this.#open || !this.#next) return;
    const isNote = "note" in this.#next;
    const dueAt = isNote ? (this.#lastAt ?? Number.NEGATIVE_INFINITY) + noteEveryMs : (this.#lastAt ?? this.#beganAt) + this.#options.everyMs;
    this.#timer = setTimeout(() => this.#send(), Math.max(0, dueAt - performance.now()));
  }

  #unplan(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #send(): void {
    this.#timer = undefined;
    const progress = this.#next;
    if (!progress) return;
    this.#next = undefined;
    const body = JSON.stringify({ status: "IN_PROGRESS", output: outputOf(progress) });
    this.#open = this.#options.post(body, { signal: this.#closing.signal }).finally(() => {
      this.#open = undefined;
      this.#lastAt = performance.now();
      if (!this.#ended) this.#plan();
    });
  }
}

function outputOf(progress: Progress): unknown {
  if ("note" in progress) return progress.note ?? null;
  const { fraction, step, steps, etaMs } = progress;
  return {
    progress: Math.round(fraction * 1000) / 1000,
    ...(step !== undefined && { step }),
    ...(steps !== undefined && { steps }),
    ...(etaMs !== undefined && { etaMs: Math.round(etaMs) }),
  };
}
