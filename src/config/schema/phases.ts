import { z } from "zod";
import { duration, name, word } from "./scalars.ts";

const onFailure = z.enum(["exit", "warn"]);

export const phase = z.strictObject({
  title: word.optional().meta({ description: "Its name in the log; its key unless given." }),
  target: duration.optional().meta({ description: "How long it should take; longer is a warning." }),
  onFailure: onFailure.default("exit").meta({ description: "exit: a member that fails ends the boot with exit code 1. warn: said, and the boot goes on." }),
  after: z
    .array(name)
    .optional()
    .meta({ description: "The phases that come first. Unless given, the one written before it; [] begins at once, beside the first." }),
});

const hook = (when: string) =>
  z
    .strictObject({
      path: word.meta({ description: "The script; without it nothing happens." }),
      shell: word.default("bash").meta({ description: "The program that runs it." }),
      timeout: duration.default(300_000).meta({ description: "It is ended after this long, which is a failure; 0 = no limit." }),
      onFailure: onFailure.default("warn").meta({ description: "exit: a failure ends fettle with the script's exit code. warn: the boot goes on." }),
      logFile: word.optional().meta({ description: "Where its output goes, relative to logDir." }),
    })
    .optional()
    .meta({ description: when });

export const hooks = z
  .strictObject({ preStart: hook("Runs before everything else."), postStart: hook("Runs once everything has started.") })
  .prefault({})
  .meta({ description: "Scripts of the user that run around the boot, when they exist." });

/** What a member of a phase may say for itself. */
export const member = {
  phase: name.optional().meta({ description: "The phase it starts in." }),
  onFailure: onFailure.optional().meta({ description: "What its failure does to the boot; as its phase says unless given." }),
};

export type PhaseConfig = z.output<typeof phase>;
export type HookConfig = NonNullable<z.output<typeof hooks>["preStart"]>;
