import type { ControlClient } from "../control/client.ts";
import type { Snapshot } from "../control/protocol.ts";
import type { StampedEvent } from "../events/event.ts";
import { pause } from "../util/pause.ts";

/** A stream that breaks may only have been cut for reading too slowly; a supervisor that cannot be reached so often is gone. */
const tries = 5;
const pauseMs = 100;

export interface Followers {
  observe(event: StampedEvent): void;
  /** What was missed is made good by the supervisor's present state. */
  resume(snapshot: Snapshot): void;
}

/** Passes the supervisor's events on until the signal aborts; `onGone` when nobody answers any more. */
export async function followSupervisor(
  control: ControlClient,
  since: number,
  followers: Followers,
  { signal, onGone }: { signal: AbortSignal; onGone: () => void },
): Promise<void> {
  let seq = since;
  for (let failures = 0; failures < tries && !signal.aborted;) {
    try {
      for await (const event of control.events(seq, { signal })) {
        failures = 0;
        seq = event.seq;
        followers.observe(event);
      }
      if (signal.aborted) return;
      // After a cut, events may have fallen out of the supervisor's memory: begin anew from its present state.
      const snapshot = await control.snapshot({ signal });
      seq = snapshot.seq;
      followers.resume(snapshot);
      failures += 1;
    } catch {
      failures += 1;
    }
    await pause(pauseMs, { signal });
  }
  if (!signal.aborted) onGone();
}
