const unknownSeconds = 5;
const bounds = { min: 1, max: 120 };
/** The weight of the latest job; some five jobs make the average. */
const weight = 0.2;

/** How long jobs take here of late, to tell a caller when it is worth to ask again. */
export class Pace {
  #averageMs: number | undefined;

  finished(executionMs: number): void {
    this.#averageMs = this.#averageMs === undefined ? executionMs : this.#averageMs + weight * (executionMs - this.#averageMs);
  }

  /** Until a place is likely to be free, when `running` jobs run side by side. Between 1 s and 2 min; 5 s while nothing is known. */
  retryAfterSeconds(running: number): number {
    if (this.#averageMs === undefined) return unknownSeconds;
    return Math.min(bounds.max, Math.max(bounds.min, Math.ceil(this.#averageMs / 1000 / Math.max(1, running))));
  }
}
