// phases/steps/ carries out the built-in steps of tasks. Takes: the steps of a plan. Gives: folders, links, files and checks as they
// shall be, one line for each thing that it changed, an error with a code for what it cannot do. Runs in a process of its own
// (`fettle steps`), because a volume that hangs must not hang the supervisor.
import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import { describeStep, type Step } from "../../plan/step.ts";
import { type CheckSurroundings, runCheck } from "./check.ts";
import { makeDirectories } from "./directories.ts";
import { makeLinks } from "./links.ts";
import { writeStep } from "./write.ts";

export interface StepsOptions extends CheckSurroundings {
  /** A line for the task's log. */
  say(line: string): void;
  readonly signal: AbortSignal;
}

/** Carries the steps out in order; the first failure that is not only a warning ends them. Resolves with the exit code. */
export async function runSteps(steps: readonly Step[], options: StepsOptions): Promise<number> {
  let changes = 0;
  let warnings = 0;
  const failed: string[] = [];
  for (const step of steps) {
    if (options.signal.aborted) return 1;
    try {
      const lines = await runStep(step, options);
      changes += step.type === "check" ? 0 : lines.length;
      for (const line of lines) options.say(line);
    } catch (error) {
      const text = describeFailure(error);
      if (step.onFailure === "fail") {
        options.say(text);
        return error instanceof FettleError ? error.exitCode : 1;
      }
      warnings++;
      if (step.onFailure === "continue") failed.push(describeStep(step));
      options.say(`[WARNING] ${text}`);
    }
  }
  if (failed.length > 0) {
    options.say(`${failed.length} of ${steps.length} failed: ${failed.join("; ")}`);
    return 1;
  }
  if (changes + warnings === 0 && steps.some(({ type }) => type !== "check")) options.say("Everything is in place.");
  return 0;
}

function runStep(step: Step, options: StepsOptions): Promise<readonly string[]> {
  switch (step.type) {
    case "directories":
      return makeDirectories(step.paths, step.mode);
    case "links":
      return makeLinks(step.links, step.onFolder);
    case "write":
      return writeStep(step);
    case "check":
      return runCheck(step, options);
  }
}

/** One line: the last line of a task is what its phase quotes. */
function describeFailure(error: unknown): string {
  if (!(error instanceof FettleError)) return `Cannot carry out a step: ${reasonOf(error)}.`;
  return error.hint === undefined ? error.message : `${error.message} ${error.hint}`;
}
