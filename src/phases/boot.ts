import type { PhaseStatus, TimelineStage } from "../control/protocol.ts";
import { reasonOf } from "../errors/fettle-error.ts";
import type { EventBus } from "../events/bus.ts";
import type { Log } from "../log/log.ts";
import type { Plan } from "../plan/plan.ts";
import { createStatus } from "../supervise/status.ts";
import { bootRecord, describeHardware, readBoots, recordBoot, usualTimes } from "./history.ts";
import { createPhaseReport } from "./report.ts";
import { createTimelineFile } from "./timeline-file.ts";
import { createPhaseWatch, type PhaseWatch } from "./watch.ts";

export interface BootOptions {
  readonly bus: EventBus;
  readonly log: Log;
  /** Where earlier boots are remembered. */
  readonly stateDir: string;
  /** Where timeline.json is written. */
  readonly logDir: string;
  readonly stages: readonly TimelineStage[];
}

export interface BootWatch {
  readonly failure: PhaseWatch["failure"];
  /** After a reload. */
  use(plan: Plan): void;
  /** Resolves when the last file is written. */
  end(): Promise<void>;
}

/** Sets the observers of a boot on the bus: verdicts, report, memory of earlier boots, timeline.json. */
export function watchBoot(plan: Plan, { bus, log, stateDir, logDir, stages }: BootOptions): BootWatch {
  const hardware = describeHardware();
  const hasPhases = plan.phases.length > 0;
  const usualMs = hasPhases ? usualTimes(readBoots(stateDir), { profile: plan.profile, hardware }) : new Map<string, number>();
  const watch = createPhaseWatch(plan, { emit: (event) => void bus.emit(event), usualMs });
  const status = createStatus(plan);
  const phases = (): readonly PhaseStatus[] => status.snapshot([]).phases ?? [];
  const file = createTimelineFile(logDir, {
    content: () => ({ profile: plan.profile, hardware, phases: phases(), stages }),
    onTrouble: (reason) => log.warn(`Cannot write timeline.json in ${logDir}: ${reason}.`),
  });
  const observers = [watch.apply, createPhaseReport(log), status.apply, file.apply].map((observer) => bus.observe(observer));
  const endRecord = bus.observe((event) => {
    // What a failure took says nothing about the next boot.
    if (event.type !== "boot.completed" || event.failed.length > 0) return;
    try {
      recordBoot(stateDir, bootRecord(plan.profile, hardware, phases()));
    } catch (error) {
      log.debug(`Cannot remember this boot in ${stateDir}: ${reasonOf(error)}.`);
    }
  });
  return {
    failure: watch.failure,
    use(next) {
      status.use(next);
      watch.use(next);
    },
    async end() {
      watch.end();
      for (const end of [...observers, endRecord]) end();
      await file.flush();
    },
  };
}
