// install/ owns what `fettle install` puts in place: repeatable steps { title, isDone, run }.
// Takes: the configuration. Gives: venvs, clones and installed requirements; a report. Must not know supervise's plan, jobs or models.
// A step that is done is skipped, so a second run does nothing and an interrupted one goes on where it stopped.
import { FettleError } from "../errors/fettle-error.ts";

export interface StepOptions {
  readonly signal: AbortSignal;
  /** A line of a program's output. */
  readonly onLine: (line: string) => void;
}

export interface Step {
  /** What it does, as a phrase that fits "Cannot …": `clone ComfyUI`. */
  readonly title: string;
  /** Whether what it does is there already; looks only, changes nothing. */
  isDone(options: Pick<StepOptions, "signal">): Promise<boolean>;
  run(options: StepOptions): Promise<void>;
}

/** Steps that may run beside each other, at most `limit` at once. */
export interface StepGroup {
  readonly limit: number;
  readonly steps: readonly Step[];
}

export interface StepReport {
  readonly title: string;
  readonly outcome: "done" | "skipped";
  readonly afterMs: number;
}

export interface RunStepsOptions {
  readonly signal: AbortSignal;
  readonly onLine?: (title: string, line: string) => void;
  readonly onStart?: (title: string) => void;
  readonly onEnd?: (report: StepReport) => void;
}

/** Runs groups one after the other. The first failure ends it: the group's other steps are cut short, then the error is thrown. */
export async function runSteps(groups: readonly StepGroup[], options: RunStepsOptions): Promise<StepReport[]> {
  const reports: StepReport[] = [];
  for (const { limit, steps } of groups) {
    const cut = new AbortController();
    const signal = AbortSignal.any([options.signal, cut.signal]);
    const queue = [...steps];
    const failures: unknown[] = [];
    const worker = async () => {
      for (let step = queue.shift(); step && failures.length === 0; step = queue.shift()) {
        try {
          const report = await runStep(step, { ...options, signal });
          reports.push(report);
          options.onEnd?.(report);
        } catch (error) {
          failures.push(error);
          cut.abort();
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(limit, steps.length) }, worker));
    if (failures.length > 0) throw failures[0];
  }
  return reports;
}

async function runStep(step: Step, { signal, onStart, onLine }: RunStepsOptions): Promise<StepReport> {
  const { title } = step;
  const began = performance.now();
  if (signal.aborted) throw new FettleError("install.failed", `Cannot ${title}: it was interrupted.`);
  if (await step.isDone({ signal })) return { title, outcome: "skipped", afterMs: Math.round(performance.now() - began) };
  onStart?.(title);
  await step.run({ signal, onLine: (line) => onLine?.(title, line) });
  return { title, outcome: "done", afterMs: Math.round(performance.now() - began) };
}
