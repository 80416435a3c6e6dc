import { z } from "zod";
import { member } from "./phases.ts";
import { pattern, probe } from "./probe.ts";
import { liveness, processKeys, replicas } from "./process.ts";
import { argv, decimal, duration, environment, flag, integer, name, text, word } from "./scalars.ts";
import { step } from "./steps.ts";

export const restart = z
  .strictObject({
    policy: z
      .enum(["never", "on-failure", "always"])
      .default("always")
      .meta({ description: "When its end makes fettle start it again; on-failure: not after exit code 0." }),
    first: duration.default(500).meta({ description: "The wait before the first restart." }),
    factor: decimal(1, 10).default(2).meta({ description: "Each further wait is so many times the one before." }),
    max: duration.default(30_000).meta({ description: "No wait is longer." }),
    resetAfter: duration.default(30_000).meta({ description: "Ready for this long, and the next failure is a first one again." }),
    maxRestarts: integer(0, 1000).default(5).meta({ description: "More restarts than this within `window` are a crash loop." }),
    window: duration.default(300_000).meta({ description: "The time in which `maxRestarts` counts." }),
  })
  .prefault({})
  .meta({ description: "What happens when it ends by itself." });

export const stop = z
  .strictObject({
    signal: z
      .enum(["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"])
      .default("SIGTERM")
      .meta({ description: "The signal that asks it to stop; its whole process group gets it." }),
    grace: duration.default(8000).meta({ description: "Between that signal and SIGKILL; the global stop budget may shorten it." }),
  })
  .prefault({})
  .meta({ description: "How it is stopped." });

/** Expected time of a stage, shown beside the measured one. */
export const expectation = z
  .strictObject({
    min: duration.optional().meta({ description: "It takes at least this long." }),
    max: duration.meta({ description: "It takes at most this long." }),
  })
  .meta({ description: "The expected time of this stage, shown in the timeline beside the measured one." });

/** What every launched thing has in common, engines included. */
export const launched = {
  announce: text.optional().meta({ description: "A line printed as it stands when it starts." }),
  expect: expectation.optional(),
  env: environment.default({}).meta({ description: "Environment variables added to fettle's own for this program; null removes one." }),
  user: word.optional().meta({ description: "Run as this user when fettle is root: name, uid or uid:gid." }),
  enabled: flag.default(true).meta({ description: "false leaves it out of the plan." }),
  restart,
  stop,
  console: flag.default(true).meta({ description: "Mirror its output on the container's log." }),
  log: z.enum(["pipe", "direct"]).default("pipe").meta({
    description:
      "direct: it writes its log file itself, as fast as the disk; nothing is mirrored, no line can be waited for, and it is rotated only between two starts.",
  }),
  ...processKeys,
  replicas,
  ...member,
  logFile: word.optional().meta({ description: "Where its output goes, relative to logDir; NAME.log unless given." }),
  pidFile: word.optional().meta({ description: "Where its PID is written, relative to runtimeDir; NAME.pid unless given." }),
};

const declared = z.strictObject({
  ...launched,
  command: argv.min(1, { error: "expected a program and its arguments" }).optional().meta({ description: "Program and arguments; no shell is involved." }),
  steps: z
    .array(step)
    .min(1, { error: "expected at least one step" })
    .optional()
    .meta({ description: "Instead of a command: built-in steps, carried out in this order as a task. Done ones are not repeated." }),
  extraArgs: argv.default([]).meta({ description: "Appended to the command; layers add to each other." }),
  cwd: word.optional().meta({ description: "The folder it runs in." }),
  task: flag.default(false).meta({ description: "Must end with 0 instead of keeping on." }),
  background: flag.default(false).meta({ description: "Nobody waits for its end or its readiness; its phase is content once it has started." }),
  timeout: duration.default(0).meta({ description: "A task that is not done after this long has failed; 0 = no limit." }),
  dependsOn: z
    .record(
      name,
      z
        .union([z.enum(["started", "ready", "completed"]), z.strictObject({ logLine: pattern })], {
          error: "expected started, ready, completed or { logLine: … }",
        })
        .meta({ description: "started: spawned. ready: its readiness probe passes. completed: ended with 0. logLine: a line of its output matches." }),
    )
    .default({})
    .meta({ description: "Engines and services that come first, each with its condition." }),
  readiness: probe.optional().meta({ description: "How to ask whether it is ready; without one it counts as ready once started." }),
  liveness,
  allocator: z.enum(["tcmalloc", "none"]).default("none").meta({ description: "Preload tcmalloc when the machine has it." }),
  essential: flag.default(false).meta({ description: "Its end ends the container, with its exit code." }),
  onlyIfExists: word.optional().meta({ description: "Leave the service out when this file is missing." }),
  onlyIfSet: text.optional().meta({ description: "Leave the service out when this text is empty; meant for ${NAME:-}." }),
  replacesSource: z.enum(["runpod", "http", "file"]).optional().meta({ description: "When this service runs, that job source of fettle's own is off." }),
});

/** `command` or `steps`, never both. */
export const service = declared.superRefine(({ command, steps }, context) => {
  if (command === undefined && steps === undefined) context.addIssue({ code: "custom", path: ["command"], message: "expected a list of words" });
  if (command !== undefined && steps !== undefined)
    context.addIssue({ code: "custom", path: ["steps"], message: "expected nothing beside a command (null removes one)" });
});

export type ServiceConfig = z.output<typeof service>;
