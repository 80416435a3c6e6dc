import type { AttemptResult, Remedy } from "../engines/engine.ts";

/** What happened to a job so far. */
export interface Past {
  /** Attempts of this life, the one in question included. */
  readonly tries: number;
  /** So often it lost its engine or its worker before. */
  readonly losses: number;
  /** Memory was freed for it already. */
  readonly freed: boolean;
}

export interface RetryLimits {
  readonly tries: number;
  readonly maxLosses: number;
  /** The engine can be told to free its memory. */
  readonly canFree: boolean;
}

export interface Verdict {
  readonly again: boolean;
  /** What must happen before, or to the engine in any case. */
  readonly remedy?: Remedy;
  /** The engine died of it, or must be ended: counts against `maxLosses`, which is smaller than `tries`. */
  readonly isLoss: boolean;
}

/**
 * Retries by cause: bad input never, a transient fault up to `tries`, memory once after it was freed, a lost or poisoned engine up to
 * `maxLosses`. Pure, so that every row of it is a test.
 */
export function judge(result: Extract<AttemptResult, { type: "failed" }>, { tries, losses, freed }: Past, limits: RetryLimits): Verdict {
  if (result.remedy === "free-memory") {
    const helps = limits.canFree && !freed;
    return { again: result.retryable && helps && tries < limits.tries, isLoss: false, ...(helps && { remedy: "free-memory" }) };
  }
  const isLoss = result.remedy === "restart" || result.code === "engine.lost";
  const again = result.retryable && tries < limits.tries && (!isLoss || losses + 1 < limits.maxLosses);
  return { again, isLoss, ...(result.remedy && { remedy: result.remedy }) };
}
