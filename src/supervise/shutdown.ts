import type { Service } from "../plan/plan.ts";
import { atMost } from "../util/at-most.ts";

/** The part of the budget that is kept for those who stop last (engines), in all. */
const reserveMs = 1500;

/** What shutdown needs of a supervised service. */
export interface Stoppable {
  readonly spec: Service;
  stop(options: { budgetMs: number }): Promise<{ readonly cutShort: boolean }>;
}

/**
 * Who must be gone before a service may stop: everyone who depends on it, and for all but the worker the worker,
 * which drains its jobs first. (A service the worker itself depends on is covered by both.)
 */
export function stopsAfter(services: readonly Service[]): Map<string, readonly string[]> {
  const workers = services.filter(({ role }) => role === "worker").map(({ name }) => name);
  return new Map(
    services.map((service) => {
      const dependants = services.filter(({ dependsOn }) => dependsOn.some((one) => one.service === service.name && !one.startOnly)).map(({ name }) => name);
      return [service.name, service.role === "worker" ? dependants : [...new Set([...dependants, ...workers])]];
    }),
  );
}

/**
 * Stops everything in reverse order, in parallel where the graph allows, within one budget. Those with others still to
 * stop after them leave these a share of the reserve. `cutShort`: the budget ended somebody's grace.
 */
export async function stopAll(services: readonly Stoppable[], budgetMs: number): Promise<{ cutShort: boolean }> {
  const endMs = performance.now() + budgetMs;
  const after = stopsAfter(services.map(({ spec }) => spec));
  const below = levelsBelow(after);
  const deepest = Math.max(1, ...below.values());
  const reserve = Math.min(reserveMs, budgetMs / 4);
  const stops = new Map<string, Promise<{ readonly cutShort: boolean }>>();
  const stop = (one: Stoppable): Promise<{ readonly cutShort: boolean }> => {
    const { name } = one.spec;
    const known = stops.get(name);
    if (known) return known;
    const earlier = services.filter(({ spec }) => after.get(name)?.includes(spec.name));
    const kept = (reserve * (below.get(name) ?? 0)) / deepest;
    const promise = Promise.resolve()
      .then(() => Promise.all(earlier.map(stop)))
      .then(() => one.stop({ budgetMs: endMs - performance.now() - kept }));
    stops.set(name, promise);
    return promise;
  };
  const outcomes = await Promise.all(services.map(stop));
  return { cutShort: outcomes.some(({ cutShort }) => cutShort) };
}

/** So much longer than the budget may it take to find out that somebody cannot be ended. */
const overrunMs = 500;

/** As `stopAll`, and over in any case soon after the budget: what hangs then (in the kernel, on a dead volume) is `left`, by name. */
export async function stopWithin(services: readonly Stoppable[], budgetMs: number): Promise<{ cutShort: boolean; left: readonly string[] }> {
  const left = new Set(services.map(({ spec }) => spec.name));
  const counted = services.map((service): Stoppable => ({
    spec: service.spec,
    async stop(options) {
      const outcome = await service.stop(options);
      left.delete(service.spec.name);
      return outcome;
    },
  }));
  const outcome = await atMost(budgetMs + overrunMs, stopAll(counted, budgetMs));
  return { cutShort: outcome?.cutShort ?? true, left: outcome ? [] : [...left] };
}

/** For each service the length of the longest chain of others that wait for its end. */
function levelsBelow(after: ReadonlyMap<string, readonly string[]>): Map<string, number> {
  const levels = new Map<string, number>();
  const levelOf = (name: string): number => {
    const known = levels.get(name);
    if (known !== undefined) return known;
    levels.set(name, 0);
    const waiting = [...after].filter(([, earlier]) => earlier.includes(name)).map(([other]) => levelOf(other));
    const level = waiting.length === 0 ? 0 : 1 + Math.max(...waiting);
    levels.set(name, level);
    return level;
  };
  for (const name of after.keys()) levelOf(name);
  return levels;
}
