import type { ControlClient } from "../control/client.ts";
import type { Readiness } from "../jobs/readiness.ts";
import { pause } from "../util/pause.ts";

/** A stream that breaks may only have been cut for reading too slowly; a supervisor that cannot be reached so often is gone. */
const tries = 5;
const pauseMs = 100;

/** Passes the supervisor's events on to the engines' readiness until the signal aborts; `onGone` when nobody answers any more. */
export async function followSupervisor(
  control: ControlClient,
  since: number,
  readiness: Pick<Readiness, "observe" | "resume">,
  { signal, onGone }: { signal: AbortSignal; onGone: () => void },
): Promise<void> {
  let seq = since;
  for (let failures = 0; failures < tries && !signal.aborted;) {
    try {
      for await (const event of control.events(seq, { signal })) {
        failures = 0;
        seq = event.seq;
        readiness.observe(event);
      }
      if (signal.aborted) return;
      // After a cut, events may have fallen out of the supervisor's memory: begin anew from its present state.
      const snapshot = await control.snapshot({ signal });
      seq = snapshot.seq;
      readiness.resume(snapshot.engines);
      failures += 1;
    } catch {
      failures += 1;
    }
    await pause(pauseMs, { signal });
  }
  if (!signal.aborted) onGone();
}
