import type { Progress } from "../engines/engine.ts";

/** All attempts of a job together: the clock begins with the first of them, waiting for an engine does not count before. */
export class JobDeadline {
  readonly limitMs: number;
  readonly #controller = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** 0: no limit. */
  constructor(limitMs: number) {
    this.limitMs = limitMs;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Starts the clock; does nothing when it runs already. */
  begin(): void {
    if (this.limitMs > 0) this.#timer ??= setTimeout(() => this.#controller.abort(), this.limitMs);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

export interface StallLimits {
  /** 0: never. */
  readonly stallMs: number;
  /** Before the first step, while a model may be loading; never less than `stallMs`. */
  readonly loadingMs: number;
  /** Silence counts from the start. Otherwise only once the engine has said something of this attempt. */
  readonly tellsProgress: boolean;
}

/**
 * Watches one attempt for signs of life. Progress is a step, a fraction, a preview or a note that differs from the one before;
 * the same number told again is none.
 *
 *   silent ──(tellsProgress, or a first sign)──▶ loading ──first step──▶ stepping ──silence──▶ stalled
 *                                                   └────────────silence──────────────────────▶
 */
export class StallWatch {
  readonly #limits: StallLimits;
  readonly #controller = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lastMs = performance.now();
  #last = "";
  #hasStepped = false;

  constructor(limits: StallLimits) {
    this.#limits = limits;
    if (limits.tellsProgress) this.#arm();
  }

  /** Aborts when nothing moved for too long. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get limitMs(): number {
    const { stallMs, loadingMs } = this.#limits;
    return this.#hasStepped ? stallMs : Math.max(stallMs, loadingMs);
  }

  saw({ step, fraction, preview, note }: Progress): void {
    const now = JSON.stringify([step, fraction, preview?.base64.length, preview?.base64.slice(-64), note]);
    if (now === this.#last) return;
    this.#last = now;
    // A1111 tells 0.01 from a job's begin on.
    const steps = (step ?? 0) > 0 || fraction > 0.02 || note !== undefined || preview !== undefined;
    if (steps && !this.#hasStepped) {
      this.#hasStepped = true;
      // The bound is a smaller one from here on.
      this.end();
    }
    this.touch();
  }

  /** Something else moved: bytes of the answer, the engine's own queue. */
  touch(): void {
    this.#lastMs = performance.now();
    this.#arm();
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #arm(): void {
    if (this.#limits.stallMs === 0 || this.#timer !== undefined || this.signal.aborted) return;
    const restMs = this.limitMs - (performance.now() - this.#lastMs);
    this.#timer = setTimeout(() => this.#look(), Math.max(1, restMs));
  }

  #look(): void {
    this.#timer = undefined;
    if (performance.now() - this.#lastMs >= this.limitMs) this.#controller.abort();
    else this.#arm();
  }
}
