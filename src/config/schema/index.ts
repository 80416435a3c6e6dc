import { z } from "zod";
import { engine } from "./engines.ts";
import { duration, flag, integer, name, port, sizeBytes, text } from "./scalars.ts";
import { expectation, service } from "./services.ts";
import { sources } from "./sources.ts";

const log = z
  .strictObject({
    format: z.enum(["auto", "pretty", "plain", "json"]).default("auto").meta({ description: "auto: pretty on a terminal, else plain." }),
    level: z.enum(["error", "warn", "info", "debug"]).default("info"),
  })
  .prefault({});

const jobs = z
  .strictObject({
    timeout: duration.default(600_000).meta({ description: "One whole request to the engine (seed 003: 600 s)." }),
    retry: z
      .strictObject({
        tries: integer(1, 100).default(10),
        backoff: duration.default(100).meta({ description: "Doubled after each failed try." }),
      })
      .prefault({})
      .meta({ description: "On 502, 503, 504 and refused connections." }),
    maxInput: sizeBytes.default(100_000_000),
    maxDepth: integer(4, 10_000).default(64).meta({ description: "How deep a job's JSON may nest." }),
    blackImages: z.enum(["fail", "warn", "off"]).default("fail"),
    keepResults: duration.default(1_800_000).meta({ description: "How long a delivered result can still be asked for." }),
    maxLosses: integer(1, 100).default(3).meta({ description: "So often may the worker die while it runs a job; then the job fails." }),
  })
  .prefault({});

const results = z
  .strictObject({
    files: z
      .strictObject({ dir: text, template: text.default("{job}-{index}.{ext}") })
      .optional()
      .meta({ description: "Also write each image into a folder." }),
  })
  .prefault({});

/** The whole configuration. Unknown keys are mistakes everywhere. */
export const configSchema = z.strictObject({
  version: z.literal(1).default(1),
  description: text.optional(),
  extends: text.optional().meta({ description: "A built-in profile to start from." }),
  announce: z.array(text).default([]).meta({ description: "Lines printed before anything else." }),
  expectSetup: expectation.optional(),
  log,
  stateDir: text.default("/var/lib/fettle").meta({ description: "Journal and results; a local disk, not a network volume." }),
  logDir: text.default("/var/log/fettle"),
  runtimeDir: text.default("/run/fettle").meta({ description: "Control socket and PID files." }),
  stop: z.strictObject({ budget: duration.default(8000) }).prefault({}),
  health: z.strictObject({ enabled: flag.default(true), listen: text.default("127.0.0.1"), port: port.default(9090) }).prefault({}),
  engines: z.record(name, engine).default({}),
  services: z.record(name, service).default({}),
  sources,
  jobs,
  results,
});

export type Config = z.output<typeof configSchema>;
export type { A1111EngineConfig, DiffusersEngineConfig, EngineConfig } from "./engines.ts";
export type { ProbeConfig } from "./probe.ts";
export type { ServiceConfig } from "./services.ts";
export type { FileSourceConfig, HttpSourceConfig, RunpodSourceConfig } from "./sources.ts";
