export interface BackoffOptions {
  readonly firstMs: number;
  readonly factor: number;
  readonly maxMs: number;
  /** Share of the delay that is random, 0..1; spreads a fleet that fails together. */
  readonly jitter: number;
}

/** The delay before try number `attempt` (1 = after the first failure): exponential, capped, with jitter. */
export function backoffMs(attempt: number, options: BackoffOptions, random: () => number = Math.random): number {
  const full = Math.min(options.maxMs, options.firstMs * options.factor ** (attempt - 1));
  return Math.round(full * (1 - options.jitter * random()));
}
