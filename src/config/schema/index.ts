import { z } from "zod";
import { engine } from "./engines.ts";
import { install } from "./install.ts";
import { jobs } from "./jobs.ts";
import { hooks, phase } from "./phases.ts";
import { results } from "./results.ts";
import { duration, flag, host, name, port, text, word } from "./scalars.ts";
import { expectation, service } from "./services.ts";
import { sources } from "./sources.ts";

const log = z
  .strictObject({
    format: z
      .enum(["auto", "pretty", "plain", "json", "runpod"])
      .default("auto")
      .meta({ description: "auto: runpod on RunPod serverless, pretty on a terminal, else plain. runpod: JSON lines with requestId, message and level." }),
    level: z.enum(["error", "warn", "info", "debug"]).default("info").meta({ description: "The least important lines that are printed." }),
  })
  .prefault({})
  .meta({ description: "What fettle prints on stderr." });

/** The whole configuration. Unknown keys are mistakes everywhere. */
export const configSchema = z.strictObject({
  version: z
    .union([z.literal(1), z.literal("1").transform((): 1 => 1)], { error: "expected 1, the only version there is" })
    .default(1)
    .meta({ description: "The version of this format." }),
  description: text.optional().meta({ description: "A line for people." }),
  extends: text.optional().meta({ description: "A built-in profile to start from." }),
  announce: z.array(text).default([]).meta({ description: "Lines printed before anything else." }),
  envFiles: z
    .array(word)
    .default([])
    .meta({ description: "Files of NAME=value lines (.env) for ${NAME} and for everything that is started; the real environment wins. -NAME may be missing." }),
  expectSetup: expectation.optional(),
  log,
  // The folders' defaults depend on the user: defaults.ts gives them as the lowest layer, so these are root's.
  stateDir: word.default("/var/lib/fettle").meta({ description: "Journal and results; a local disk, not a network volume. Not root: $XDG_STATE_HOME/fettle." }),
  logDir: word.default("/var/log/fettle").meta({ description: "One log file per service. Not root: stateDir's default, and /log." }),
  runtimeDir: word.default("/run/fettle").meta({ description: "Control socket and PID files. Not root: $XDG_RUNTIME_DIR/fettle, or /tmp/fettle-UID." }),
  stop: z
    .strictObject({ budget: duration.default(8000).meta({ description: "Everything must have stopped after this long; Docker waits 10 s." }) })
    .prefault({})
    .meta({ description: "The stop of fettle as a whole." }),
  health: z
    .strictObject({
      enabled: flag.default(true).meta({ description: "false: no health server; `fettle health` then asks the control socket." }),
      listen: host.default("127.0.0.1").meta({ description: "The address it listens on." }),
      port: port.default(9090).meta({ description: "The TCP port of the health server; 0 lets the system choose." }),
    })
    .prefault({})
    .meta({ description: "The health server: /health, /ready, /status, /metrics." }),
  engines: z.record(name, engine).default({}).meta({ description: "The engines by name; each has a kind." }),
  services: z.record(name, service).default({}).meta({ description: "Other programs to run beside the engines, by name." }),
  phases: z
    .record(name, phase)
    .default({})
    .meta({ description: "Stages of the boot, in this order; engines and services name theirs. Each begins when the one before it is settled." }),
  hooks,
  sources,
  jobs,
  results,
  install,
});

export type Config = z.output<typeof configSchema>;
export type { A1111EngineConfig, ComfyuiEngineConfig, DiffusersEngineConfig, EngineConfig, PythonEngineConfig } from "./engines.ts";
export type { ComfyuiInstallConfig } from "./install.ts";
export type { HookConfig, PhaseConfig } from "./phases.ts";
export type { ProbeConfig } from "./probe.ts";
export type { LimitsConfig, LivenessConfig } from "./process.ts";
export type { ServiceConfig } from "./services.ts";
export type { FileSourceConfig, HttpSourceConfig, RunpodSourceConfig } from "./sources.ts";
export type { StepConfig } from "./steps.ts";
