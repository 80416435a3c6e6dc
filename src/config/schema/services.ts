import { z } from "zod";
import { probe } from "./probe.ts";
import { argv, duration, environment, flag, integer, name, text } from "./scalars.ts";

export const restart = z
  .strictObject({
    policy: z.enum(["never", "on-failure", "always"]).default("always"),
    first: duration.default(500),
    factor: z.number().min(1).max(10).default(2),
    max: duration.default(30_000),
    resetAfter: duration.default(30_000),
    maxRestarts: integer(0, 1000).default(5),
    window: duration.default(300_000),
  })
  .prefault({});

export const stop = z
  .strictObject({
    signal: z.enum(["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"]).default("SIGTERM"),
    grace: duration.default(8000),
  })
  .prefault({});

/** Expected time of a stage, shown beside the measured one. */
export const expectation = z.strictObject({ min: duration.optional(), max: duration });

/** What every launched thing has in common, engines included. */
export const launched = {
  announce: text.optional().meta({ description: "A line printed as it stands when it starts." }),
  expect: expectation.optional(),
  env: environment.default({}),
  user: text.optional().meta({ description: "Run as this user when fettle is root: name, uid or uid:gid." }),
  enabled: flag.default(true),
  restart,
  stop,
  console: flag.default(true).meta({ description: "Mirror its output on the container's log." }),
};

export const service = z.strictObject({
  ...launched,
  command: argv.min(1).meta({ description: "Program and arguments; no shell is involved." }),
  extraArgs: argv.default([]).meta({ description: "Appended to the command; layers add to each other." }),
  cwd: text.optional(),
  task: flag.default(false).meta({ description: "Must end with 0 instead of keeping on." }),
  dependsOn: z.record(name, z.enum(["started", "ready", "completed"])).default({}),
  readiness: probe.optional(),
  essential: flag.default(false).meta({ description: "Its end ends the container, with its exit code." }),
  onlyIfExists: text.optional().meta({ description: "Leave the service out when this file is missing." }),
  replacesSource: z.enum(["runpod", "http", "file"]).optional().meta({ description: "When this service runs, that job source of fettle's own is off." }),
});

export type ServiceConfig = z.output<typeof service>;
