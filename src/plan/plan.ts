// plan/ owns what shall run and in which order, as a value. Takes: a valid Config and machine facts. Gives: a Plan.
// Pure: it reads no file, no environment, no clock, so `--dry-run` shows exactly what `start` does.
// Must not know processes, jobs or sockets.
import type { ProbeSpec } from "./probe-spec.ts";

/** When a dependency counts as fulfilled: spawned, passing readiness, or ended with 0. */
export type DependencyCondition = "started" | "ready" | "completed";

export interface Dependency {
  readonly service: string;
  readonly condition: DependencyCondition;
}

export interface RestartRule {
  readonly policy: "never" | "on-failure" | "always";
  readonly firstMs: number;
  readonly factor: number;
  readonly maxMs: number;
  /** Ready for this long, and the next failure is a first one again. */
  readonly resetAfterMs: number;
  /** More than this many restarts within `windowMs` is a crash loop. */
  readonly maxRestarts: number;
  readonly windowMs: number;
}

export interface StopRule {
  readonly signal: NodeJS.Signals;
  /** Between the signal and SIGKILL to the group; the global stop budget may shorten it. */
  readonly graceMs: number;
}

/** What the seed documents expect of a stage, shown beside the measured time. */
export interface Expectation {
  readonly minMs?: number;
  readonly maxMs: number;
}

export interface Service {
  readonly name: string;
  /** A task must end with 0; the others keep running. */
  readonly role: "engine" | "worker" | "service" | "task";
  readonly argv: readonly string[];
  readonly cwd?: string;
  /** Added to the environment of fettle itself; a null value removes the variable. */
  readonly env: Readonly<Record<string, string | null>>;
  /** Run as this user when fettle is root: name or uid[:gid]. */
  readonly user?: string;
  readonly dependsOn: readonly Dependency[];
  readonly readiness?: ProbeSpec;
  readonly restart: RestartRule;
  /** Its end ends the container, with its exit code. */
  readonly essential: boolean;
  readonly stop: StopRule;
  readonly logFile: string;
  readonly pidFile: string;
  /** Mirror the output to fettle's own stderr, each line prefixed by `name |`. */
  readonly console: boolean;
  /** A line printed as it stands when the service starts (seed 000: "Starting WebUI API"). */
  readonly announce?: string;
  readonly expect?: Expectation;
}

/** An engine the worker may use; `service` is absent when it was not launched here (`url` given). */
export interface PlannedEngine {
  readonly name: string;
  readonly kind: string;
  readonly url: string;
  readonly slots: number;
  readonly service?: string;
  /** Asked by the worker itself when no service of ours stands behind the engine. */
  readonly readiness: ProbeSpec;
  readonly gpu?: number;
}

export interface Plan {
  readonly profile: string;
  /** Lines printed before anything else (seed 000: "Worker Initiated"). */
  readonly announce: readonly string[];
  /** Warnings found while planning, such as a missing tcmalloc. */
  readonly warnings: readonly string[];
  readonly services: readonly Service[];
  readonly engines: readonly PlannedEngine[];
  /** Start waves: all of one wave may start at once when their conditions hold. */
  readonly order: readonly (readonly string[])[];
  readonly stopBudgetMs: number;
  /** Expectation for the set-up stage, from process start to the first spawn. */
  readonly expectSetup?: Expectation;
}
