import type { StampedEvent } from "../../events/event.ts";
import type { PlannedEngine } from "../../plan/plan.ts";
import type { Exposition, Sample } from "./exposition.ts";

/** When something was ready, so far. */
interface Availability {
  readonly knownSinceMs: number;
  readyMs: number;
  readySinceMs: number | undefined;
}

export interface EngineMetrics {
  apply(event: StampedEvent): void;
  write(out: Exposition, engines: readonly PlannedEngine[]): void;
}

/**
 * An observer: how long each engine could take jobs. One with a service goes by its service's events, one of somebody else by what the
 * worker sees of it. `now` is on the scale of the events' `atMs`.
 */
export function createEngineMetrics(now: () => number = () => performance.now()): EngineMetrics {
  const services = new Map<string, Availability>();
  const seen = new Map<string, Availability>();
  const set = (known: Map<string, Availability>, name: string, ready: boolean, atMs: number) => {
    const one = known.get(name) ?? { knownSinceMs: atMs, readyMs: 0, readySinceMs: undefined };
    known.set(name, one);
    if (ready) one.readySinceMs ??= atMs;
    else if (one.readySinceMs !== undefined) {
      one.readyMs += atMs - one.readySinceMs;
      one.readySinceMs = undefined;
    }
  };
  return {
    apply(event) {
      if ("service" in event) {
        if (event.type === "service.starting") set(services, event.service, false, event.atMs);
        else if (event.type === "service.ready") set(services, event.service, true, event.atMs);
        else if (["service.unready", "service.stopping", "service.exited"].includes(event.type)) set(services, event.service, false, event.atMs);
      } else if (event.type === "worker.engine") set(seen, event.engine, event.ready, event.atMs);
      // Whatever the former worker saw, nobody sees it now.
      else if (event.type === "worker.started") for (const name of seen.keys()) set(seen, name, false, event.atMs);
    },
    write(out, engines) {
      const at = now();
      const rows = engines.flatMap(({ name, kind, service }) => {
        const one = service === undefined ? seen.get(name) : services.get(service);
        if (!one) return [];
        const readyMs = one.readyMs + (one.readySinceMs === undefined ? 0 : at - one.readySinceMs);
        const labels = { engine: name, kind };
        return [{ labels, readyMs, knownMs: Math.max(1, at - one.knownSinceMs) }];
      });
      out.family(
        "fettle_engine_ready_seconds_total",
        "counter",
        "How long the engine was ready, together.",
        samples(rows, ({ readyMs }) => readyMs / 1000),
      );
      out.family(
        "fettle_engine_known_seconds_total",
        "counter",
        "Since the engine was first started, or seen.",
        samples(rows, ({ knownMs }) => knownMs / 1000),
      );
      out.family(
        "fettle_engine_availability_ratio",
        "gauge",
        "Ready seconds of those, 0 to 1.",
        samples(rows, ({ readyMs, knownMs }) => Math.min(1, readyMs / knownMs)),
      );
    },
  };
}

function samples<Row extends { readonly labels: Readonly<Record<string, string>> }>(rows: readonly Row[], value: (row: Row) => number): Sample[] {
  return rows.map((row) => [row.labels, value(row)]);
}
