import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import type { Config, EngineConfig } from "../config/schema/index.ts";
import { connectControl } from "../control/client.ts";
import { type Snapshot, socketName } from "../control/protocol.ts";
import type { FettleError } from "../errors/fettle-error.ts";
import { launchedEngines } from "../plan/needs.ts";
import { inspectPython, type PythonAnswer } from "./inspect-python.ts";
import { type ProgramResult, runProgram } from "./program.ts";

type Env = Readonly<Record<string, string | undefined>>;

/** The effective configuration, or why there is none. */
export type PatientConfig = { readonly type: "loaded"; readonly loaded: LoadedConfig } | { readonly type: "refused"; readonly error: FettleError };

/** What the checks look at. Answers that several checks want are asked for once. */
export interface Patient {
  readonly env: Env;
  readonly cwd: string;
  readonly config: PatientConfig;
  /** The configuration, for checks that need `config.valid`. */
  readonly valid: Config;
  /** Engines that this configuration launches itself. */
  readonly engines: readonly (readonly [string, EngineConfig])[];
  /** A file of the machine (/proc, /sys, /etc); undefined when it cannot be read. */
  read(path: string): Promise<string | undefined>;
  /** Where a path of the machine really lies: tests put another root in front. */
  at(path: string): string;
  run(argv: readonly [string, ...string[]], options: { signal: AbortSignal; env?: Env; timeoutMs?: number }): Promise<ProgramResult>;
  /** The environment that the engine will have, as far as the configuration says. */
  engineEnv(engine: EngineConfig): Env;
  python(engine: EngineConfig): Promise<PythonAnswer>;
  /** `ldconfig -p`. Debian keeps it in /sbin, which a user's PATH may lack. */
  libraries(): Promise<ProgramResult>;
  /** The fettle that runs with this configuration's runtimeDir; undefined when none does. */
  instance(): Promise<Snapshot | undefined>;
}

export interface PatientOptions {
  readonly env: Env;
  readonly cwd: string;
  readonly config: PatientConfig;
  /** Ends every program that was asked. */
  readonly signal: AbortSignal;
  /** In front of /proc, /sys, /dev and /etc; empty except in tests. */
  readonly root?: string;
}

export function createPatient({ env, cwd, config, signal, root = "" }: PatientOptions): Patient {
  const pythons = new Map<string, Promise<PythonAnswer>>();
  let libraries: Promise<ProgramResult> | undefined;
  let instance: Promise<Snapshot | undefined> | undefined;
  const at = (path: string) => (root === "" ? path : join(root, path));
  const valid = (): Config => {
    if (config.type === "loaded") return config.loaded.config;
    throw new Error("a check that uses the configuration must need config.valid");
  };
  const engineEnv = (engine: EngineConfig): Env => {
    const own = Object.entries(engine.env).map(([name, value]) => [name, value ?? undefined] as const);
    return { ...env, ...Object.fromEntries(own) };
  };
  const patient: Patient = {
    env,
    cwd,
    config,
    get valid() {
      return valid();
    },
    get engines() {
      return launchedEngines(valid());
    },
    at,
    read: (path) => readFile(at(path), "utf8").catch(() => undefined),
    run: (argv, options) => runProgram(argv, { env, ...options }),
    engineEnv,
    python(engine) {
      const asked = engineEnv(engine);
      const python = "directory" in engine && engine.python.includes("/") ? resolve(cwd, engine.directory, engine.python) : engine.python;
      const key = JSON.stringify([python, asked["PATH"], asked["PYTHONPATH"], asked["VIRTUAL_ENV"]]);
      const known = pythons.get(key) ?? inspectPython(python, { env: asked, signal });
      pythons.set(key, known);
      return known;
    },
    libraries: () => (libraries ??= askLinker(patient, signal)),
    instance: () => (instance ??= askInstance(join(valid().runtimeDir, socketName), signal)),
  };
  return patient;
}

async function askLinker(patient: Patient, signal: AbortSignal): Promise<ProgramResult> {
  const result = await patient.run(["ldconfig", "-p"], { signal });
  return result.type === "missing" ? await patient.run(["/sbin/ldconfig", "-p"], { signal }) : result;
}

async function askInstance(socket: string, signal: AbortSignal): Promise<Snapshot | undefined> {
  try {
    return await connectControl(socket).snapshot({ signal: AbortSignal.any([signal, AbortSignal.timeout(3000)]) });
  } catch (error) {
    // Nobody there; anything else (it hangs, it is another's) is for the check to tell.
    if ((error as { code?: string }).code === "supervise.no-instance") return undefined;
    throw error;
  }
}
