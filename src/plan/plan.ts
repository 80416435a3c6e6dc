// plan/ owns what shall run and in which order, as a value. Takes: a valid Config and machine facts. Gives: a Plan.
// Pure: it reads no file, no environment, no clock, so `--dry-run` shows exactly what `start` does.
// Must not know processes, jobs or sockets.
import type { LivenessSpec, ProbeSpec } from "./probe-spec.ts";
import type { Step } from "./step.ts";

/** When a dependency counts as fulfilled: spawned, passing readiness, ended with 0, a line of its output matched, or its outcome is known, good or bad. */
export type DependencyCondition = "started" | "ready" | "completed" | "log-line" | "settled";

export interface Dependency {
  readonly service: string;
  readonly condition: DependencyCondition;
  /** For `log-line`: a regular expression. */
  readonly pattern?: string;
  /** Orders the first start only, as phases do: a later restart and the stop know nothing of it, and nobody is told when it cannot hold. */
  readonly startOnly?: true;
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

/** As `ulimit` knows them; sizes in bytes. */
export type Limits = Readonly<Partial<Record<"files" | "processes" | "core" | "lockedMemory" | "stack" | "memory", number | "unlimited">>>;

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
  readonly liveness?: LivenessSpec;
  readonly nice?: number;
  /** oom_score_adj */
  readonly oomScore?: number;
  readonly limits?: Limits;
  readonly restart: RestartRule;
  /** Its end ends the container, with its exit code. */
  readonly essential: boolean;
  readonly stop: StopRule;
  readonly logFile: string;
  readonly pidFile: string;
  /** Mirror the output to fettle's own stderr, each line prefixed by `name |`. */
  readonly console: boolean;
  /** stdout and stderr are the log file itself: as fast as the disk, but no line of it is seen, and it is rotated only between two starts. */
  readonly directLog?: true;
  /** A line printed as it stands when the service starts (seed 000: "Starting WebUI API"). */
  readonly announce?: string;
  readonly expect?: Expectation;
  /** The phase of the boot that it belongs to. */
  readonly phase?: string;
  /** Its failure is a warning: neither the boot nor the machine's health depends on it. */
  readonly optional?: true;
  /** Content once it has started. */
  readonly background?: true;
  /** A task that is not done after this long is ended and has failed. */
  readonly timeLimitMs?: number;
  /** Given to the program, which is fettle itself, in the environment. */
  readonly steps?: readonly Step[];
  /** Regular expressions with the groups `what` and `why`: lines in which it says what it does without, though it runs. */
  readonly complaints?: readonly string[];
}

/** A stage of the boot. Its members are the services that name it. */
export interface PlannedPhase {
  readonly name: string;
  /** From 1, in the order of the config. */
  readonly number: number;
  readonly title: string;
  readonly targetMs?: number;
  /** What the failure of a member does that does not say otherwise. */
  readonly onFailure: "exit" | "warn";
  /** The phases that must be settled before its members start. */
  readonly after: readonly string[];
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
  /** What its connection must know besides; may hold secrets. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

export interface Plan {
  readonly profile: string;
  /** Lines printed before anything else (seed 000: "Worker Initiated"). */
  readonly announce: readonly string[];
  /** Warnings found while planning, such as a missing tcmalloc. */
  readonly warnings: readonly string[];
  readonly services: readonly Service[];
  readonly phases: readonly PlannedPhase[];
  readonly engines: readonly PlannedEngine[];
  /** Start waves: all of one wave may start at once when their conditions hold. */
  readonly order: readonly (readonly string[])[];
  readonly stopBudgetMs: number;
  /** Expectation for the set-up stage, from process start to the first spawn. */
  readonly expectSetup?: Expectation;
}
