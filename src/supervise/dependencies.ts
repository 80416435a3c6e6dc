import type { DependencyCondition } from "../plan/plan.ts";
import { describeEnding, type ServiceState } from "./service-state.ts";

/** What a dependant sees of the service it waits for. */
export interface Depended {
  readonly name: string;
  readonly isTask: boolean;
  readonly state: ServiceState;
  /** It was spawned since it was last asked to start. */
  readonly hasStarted: boolean;
}

/** A task is ready when it is done. */
export function isMet({ state, isTask, hasStarted }: Depended, condition: DependencyCondition): boolean {
  if (condition === "started") return hasStarted;
  if (condition === "ready" && !isTask) return state.id === "ready";
  return state.id === "exited" && !state.wanted && state.ending?.code === 0;
}

/** Why the condition will not hold until somebody restarts that service; undefined while there is hope. */
export function whyNever(depended: Depended, condition: DependencyCondition): string | undefined {
  if (isMet(depended, condition)) return undefined;
  const { name, state } = depended;
  if (state.id === "crash-looping") return `${name} keeps failing: ${state.reason}`;
  if (state.id !== "exited") return undefined;
  if (state.reason !== undefined) return `${name} did not start: ${state.reason}`;
  if (state.wanted) return `${name} was stopped`;
  return `${name} ${state.ending ? describeEnding(state.ending) : "ended"}`;
}

/** What it still waits for, in words. */
export function describeWait({ name, isTask }: Depended, condition: DependencyCondition): string {
  if (condition === "started") return `waits for ${name} to start`;
  return condition === "completed" || isTask ? `waits for ${name} to complete` : `waits for ${name} to be ready`;
}
