import type { RestartRule } from "../plan/plan.ts";
import { backoffMs } from "../util/backoff.ts";

export type Verdict =
  | { readonly type: "again"; readonly delayMs: number; readonly restarts: number }
  | { readonly type: "crash-loop"; readonly restarts: number };

/** Counts a service's failures and decides about the next start. Monotonic ms everywhere: a clock that steps back changes nothing. */
export class RestartRecord {
  readonly #rule: RestartRule;
  readonly #random: () => number;
  /** When it was restarted, within the window. */
  #times: number[] = [];
  #steps = 0;

  constructor(rule: RestartRule, random: () => number = Math.random) {
    this.#rule = rule;
    this.#random = random;
  }

  /** After a failure at `nowMs` of a child that was ready for `readyMs` (0 = it never was). */
  failed(nowMs: number, readyMs: number): Verdict {
    const fresh = this.#times.length === 0;
    if (readyMs >= this.#rule.resetAfterMs) this.#steps = 0;
    this.#times = this.#times.filter((time) => nowMs - time < this.#rule.windowMs);
    if (this.#times.length >= this.#rule.maxRestarts) return { type: "crash-loop", restarts: this.#times.length };
    this.#times.push(nowMs);
    // The first crash of one that had served is an accident: it comes back at once. Whoever crashes again must wait.
    const accident = readyMs > 0 && (fresh || readyMs >= this.#rule.resetAfterMs);
    const delayMs = accident ? 0 : backoffMs(++this.#steps, { ...this.#rule, jitter: 0.2 }, this.#random);
    return { type: "again", delayMs, restarts: this.#times.length };
  }

  /** A person asked for a restart: the past is forgotten. */
  reset(): void {
    this.#times = [];
    this.#steps = 0;
  }
}
