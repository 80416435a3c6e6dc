import type { Snapshot } from "../../control/protocol.ts";
import type { Exposition, Sample } from "./exposition.ts";

/** What the snapshot says of services, engines and the boot. */
export function writeMachine(out: Exposition, { state, uptimeMs, services, phases = [], engines, jobs, version, profile }: Snapshot): void {
  const family = (name: string, type: "gauge" | "counter", help: string, samples: readonly Sample[]) => out.family(name, type, help, samples);
  const flag = (value: boolean) => (value ? 1 : 0);
  family("fettle_info", "gauge", "What runs here.", [[{ version, profile }, 1]]);
  family("fettle_up", "gauge", "1 when every service that should be is ready.", [[{}, flag(state === "ready")]]);
  family("fettle_uptime_seconds", "gauge", "Since the supervisor started.", [[{}, uptimeMs / 1000]]);
  family(
    "fettle_service_ready",
    "gauge",
    "1 when the service is ready.",
    services.map(({ name, role, state: now }) => [{ service: name, role }, flag(now === "ready")]),
  );
  const seconds = (ms: number | undefined) => (ms === undefined ? undefined : ms / 1000);
  family(
    "fettle_service_ready_seconds",
    "gauge",
    "From the spawn of the service's current child to its first readiness.",
    known(services.map(({ name, role, readyAfterMs }) => [{ service: name, role }, seconds(readyAfterMs)])),
  );
  const byPhase = (value: (one: (typeof phases)[number]) => number | undefined) => known(phases.map((one) => [{ phase: one.name }, seconds(value(one))]));
  family(
    "fettle_phase_seconds",
    "gauge",
    "How long the phase of the boot took.",
    byPhase(({ tookMs }) => tookMs),
  );
  family(
    "fettle_phase_target_seconds",
    "gauge",
    "How long the phase should take.",
    byPhase(({ targetMs }) => targetMs),
  );
  family(
    "fettle_phase_usual_seconds",
    "gauge",
    "The median of earlier boots on this hardware.",
    byPhase(({ usualMs }) => usualMs),
  );
  family(
    "fettle_phase_failures",
    "gauge",
    "Members of the phase that failed.",
    phases.map((one) => [{ phase: one.name }, one.failed?.length ?? 0]),
  );
  family(
    "fettle_service_restarts_total",
    "counter",
    "Restarts of the service.",
    services.map(({ name, role, restarts }) => [{ service: name, role }, restarts]),
  );
  family(
    "fettle_engine_ready",
    "gauge",
    "1 when the engine takes jobs.",
    engines.map(({ name, kind, ready }) => [{ engine: name, kind }, flag(ready)]),
  );
  family("fettle_jobs_received_total", "counter", "Jobs accepted.", [[{}, jobs.received]]);
  family("fettle_jobs_done_total", "counter", "Jobs that gave a result.", [[{}, jobs.done]]);
  family("fettle_jobs_failed_total", "counter", "Jobs that failed or were cancelled.", [[{}, jobs.failed]]);
}

/** Samples whose value is known yet. */
function known(samples: readonly (readonly [Record<string, string>, number | undefined])[]): Sample[] {
  return samples.flatMap(([labels, value]) => (value === undefined ? [] : [[labels, value] as const]));
}
