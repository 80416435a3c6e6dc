import type { Dependency } from "../plan/plan.ts";
import { describeEnding, type ServiceState } from "./service-state.ts";

/** What a dependant sees of the service it waits for. */
export interface Depended {
  readonly name: string;
  readonly isTask: boolean;
  readonly state: ServiceState;
  /** It was spawned since it was last asked to start. */
  readonly hasStarted: boolean;
  /** It was ready or done, or has failed, at least once since it was asked to start. */
  readonly hasSettled: boolean;
  /** Being stopped only to be started again. */
  readonly comesBack: boolean;
  /** A line of its output has matched since it was last asked to start. */
  hasSaid(pattern: string): boolean;
}

type Wanted = Pick<Dependency, "condition" | "pattern">;

/** A task is ready when it is done. */
export function isMet(depended: Depended, { condition, pattern = "" }: Wanted): boolean {
  const { state, isTask, hasStarted, hasSettled } = depended;
  if (condition === "log-line") return depended.hasSaid(pattern);
  if (condition === "started") return hasStarted;
  if (condition === "settled") return hasSettled;
  if (condition === "ready" && !isTask) return state.id === "ready";
  return state.id === "exited" && !state.wanted && state.ending?.code === 0;
}

/** Why the condition will not hold until somebody restarts that service; undefined while there is hope. */
export function whyNever(depended: Depended, wanted: Wanted): string | undefined {
  if (isMet(depended, wanted) || depended.comesBack) return undefined;
  const { name, state } = depended;
  if (state.id === "crash-looping") return `${name} keeps failing: ${state.reason}`;
  if (state.id !== "exited") return undefined;
  if (state.reason !== undefined) return `${name} did not start: ${state.reason}`;
  if (state.wanted) return `${name} was stopped`;
  return `${name} ${state.ending ? describeEnding(state.ending) : "ended"}`;
}

/** What it still waits for, in words. */
export function describeWait({ name, isTask }: Depended, { condition, pattern }: Wanted): string {
  if (condition === "log-line") return `waits for a line of ${name} that matches /${pattern}/`;
  if (condition === "started") return `waits for ${name} to start`;
  if (condition === "settled") return `waits for ${name}`;
  return condition === "completed" || isTask ? `waits for ${name} to complete` : `waits for ${name} to be ready`;
}
