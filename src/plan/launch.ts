import type { EngineConfig } from "../config/schema/index.ts";
import type { Service } from "./plan.ts";
import type { ProbeSpec } from "./probe-spec.ts";
import type { Step } from "./step.ts";

/** What launching an engine may depend on besides its own options. */
export interface LaunchFacts {
  /** The port it must listen on: the configured one, or a free one when that is 0. */
  readonly port: number;
  /** Folder with the bundled Python files, named by the hash of their content. */
  readonly assetDir: string;
  /** Where fettle keeps models that it made itself. */
  readonly modelsDir: string;
  /** The argv that starts this very program again. */
  readonly selfArgv: readonly string[];
  /** For files of this engine alone. */
  readonly ownDir: string;
  /** Whether a path exists; only for paths that the kind names in `paths`. */
  exists(path: string): boolean;
  /** CPUs that the container may use, when fewer than the machine has. */
  readonly cpuLimit?: number;
}

/** What must end with 0 before the engine starts: a program (a tiny model made on the spot), or built-in steps. */
export type EngineTask = {
  readonly name: string;
  readonly env: Readonly<Record<string, string | null>>;
} & ({ readonly argv: readonly string[] } | { readonly steps: readonly Step[] });

/** What to launch for an engine; the plan adds what all engines have in common. */
export type EngineService = Pick<Service, "argv" | "env" | "complaints"> & {
  readonly cwd?: string;
  readonly readiness: ProbeSpec;
  readonly tasks?: readonly EngineTask[];
};

/** The pure half of an engine kind. */
export interface Launcher<Options> {
  /** Asked of a running engine of this kind, wherever it came from. */
  readonly readinessPath: string;
  /** Paths whose existence `launch` asks about. */
  paths?(options: Options, folders: Pick<LaunchFacts, "modelsDir">): readonly string[];
  /** Pure: what to launch for these options; an engine given by URL never gets here. */
  launch(name: string, options: Options, facts: LaunchFacts): EngineService;
  /** What its connection must know besides the address; an engine given by URL has it too. */
  settings?(options: Options): Readonly<Record<string, unknown>> | undefined;
}

/** One row for each engine kind of the schema; the real table is in engines/index.ts. */
export type Launchers = { readonly [Kind in EngineConfig["kind"]]: Launcher<Extract<EngineConfig, { kind: Kind }>> };

/** The row for an engine. The union of its options and of the rows correspond by `kind`, which the compiler cannot see. */
export function launcherOf(launchers: Launchers, engine: EngineConfig): Launcher<EngineConfig> {
  return launchers[engine.kind] as unknown as Launcher<EngineConfig>;
}
