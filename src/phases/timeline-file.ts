import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { reasonOf } from "../errors/fettle-error.ts";
import type { StampedEvent } from "../events/event.ts";

export interface TimelineFile {
  apply(event: StampedEvent): void;
  flush(): Promise<void>;
}

export interface TimelineFileOptions {
  content(): object;
  /** Called once. */
  onTrouble(reason: string): void;
}

/** In `logDir`: the times of the last boot. */
export const timelineName = "timeline.json";

/** An observer: writes the timings whole at the moments that matter. It never blocks: `logDir` may be a network volume. */
export function createTimelineFile(logDir: string, { content, onTrouble }: TimelineFileOptions): TimelineFile {
  const path = join(logDir, timelineName);
  let writing = Promise.resolve();
  let troubled = false;
  let hasDone = false;
  const write = async (text: string): Promise<void> => {
    const temporary = `${path}.tmp`;
    try {
      await mkdir(logDir, { recursive: true });
      await writeFile(temporary, text);
      await rename(temporary, path);
    } catch (error) {
      if (!troubled) onTrouble(reasonOf(error));
      troubled = true;
      await rm(temporary, { force: true }).catch(() => undefined);
    }
  };
  const matters = (event: StampedEvent): boolean => {
    if (event.type === "job.done" && !hasDone) return (hasDone = true);
    return ["boot.completed", "phase.failed", "supervisor.ready", "supervisor.stopped"].includes(event.type);
  };
  return {
    apply(event) {
      if (!matters(event)) return;
      const text = `${JSON.stringify({ version: 1, writtenAt: event.time, ...content() }, null, 2)}\n`;
      writing = writing.then(() => write(text));
    },
    flush: () => writing,
  };
}
