/** Faults of the local RunPod platform: what can go wrong at an endpoint, how often, and the seeded dice that decide it. */
import type { Endpoint } from "./runpod-records.ts";

/**
 * One way to fail. `drop: "before"` cuts the connection at the headers, `"mid"` inside the body, `"after"` when the
 * request has taken effect (a job assigned, a result accepted) but before the answer. The last three answer 200.
 */
export type Fault =
  | { status: number; retryAfter?: string }
  | { drop: "before" | "mid" | "after" }
  | { hang: true }
  | { html: true }
  | { badJson: true }
  | { emptyBody: true };

/** How often: the next `times` requests (default 1), or each with `probability`, dice seeded by `seed` (default 1). */
export type Frequency = { times?: number } | { probability: number; seed?: number; times?: number };

/** Handle of an injected fault: how often it struck, and its end. */
export type FaultRule = { struck: number; clear: () => void };

export type FaultBook = {
  fail: (endpoint: Endpoint, fault: Fault, frequency?: Frequency) => FaultRule;
  next: (endpoint: Endpoint) => Fault | undefined;
};

/** Rules are asked in the order they were made; `job-take` rules also strike `job-take-batch`. */
export function createFaultBook(): FaultBook {
  let rules: { endpoint: Endpoint; fault: Fault; left: number; strikes: () => boolean; handle: FaultRule }[] = [];
  return {
    fail(endpoint, fault, frequency = {}) {
      const chance = "probability" in frequency ? frequency : undefined;
      const roll = chance ? seededDice(chance.seed ?? 1) : undefined;
      const rule = {
        endpoint,
        fault,
        left: frequency.times ?? (chance ? Number.POSITIVE_INFINITY : 1),
        strikes: () => !chance || !roll || roll() < chance.probability,
        handle: { struck: 0, clear: () => void (rules = rules.filter((other) => other !== rule)) },
      };
      rules.push(rule);
      return rule.handle;
    },
    next(endpoint) {
      for (const rule of rules) {
        const applies = rule.endpoint === endpoint || (rule.endpoint === "job-take" && endpoint === "job-take-batch");
        if (!applies || rule.left <= 0 || !rule.strikes()) continue;
        rule.left -= 1;
        rule.handle.struck += 1;
        return rule.fault;
      }
      return undefined;
    },
  };
}

/** Mulberry32: the same seed gives the same numbers in [0, 1) on every runtime. */
export function seededDice(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
