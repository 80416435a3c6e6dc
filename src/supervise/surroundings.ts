import type { EventBus } from "../events/bus.ts";
import type { Guardian } from "./guardian.ts";
import type { LogFiles } from "./log-files.ts";
import type { RunRecord } from "./run-record.ts";

/** What a service needs of the supervisor around it. */
export interface Surroundings {
  readonly bus: EventBus;
  /** The environment children inherit; already without what would act on this binary. */
  readonly env: Readonly<Record<string, string>>;
  /** Marks everything that this supervisor starts, see `markerOf`. */
  readonly instance: string;
  readonly guardian: Guardian;
  readonly record: Pick<RunRecord, "add" | "remove">;
  /** Only root may start a child as another user. */
  readonly isRoot: boolean;
  /** Services that name one log file share it. */
  readonly logFiles: LogFiles;
  /** Takes known secrets out of a service's output. */
  mask(block: Buffer): Buffer;
  /** A line of a service for the container's log. */
  mirror(service: string, line: string): void;
  warn(message: string, hint?: string): void;
  /** The state of some service changed. */
  changed(): void;
  /** An essential service has ended for good: the whole must stop with this code. */
  essentialEnded(service: string, exitCode: number, reason: string): void;
}

/** In the environment of everything a service starts; finds whoever leaves the process group. */
export const markerName = "FETTLE_SERVICE";

/** The marker of one service, or of the whole instance when no name is given (then it is a prefix). */
export function markerOf(instance: string, service?: string): string {
  return service === undefined ? `${markerName}=${instance}:` : `${markerName}=${instance}:${service}\0`;
}
