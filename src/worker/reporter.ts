import type { ControlClient } from "../control/client.ts";
import { FettleError } from "../errors/fettle-error.ts";
import type { EventBus } from "../events/bus.ts";
import type { FettleEvent, StampedEvent } from "../events/event.ts";

/** Events gather for so long before one request carries them all; observers only, so no job waits for it. */
const gatherMs = 100;
const mostHeld = 5000;
/** One request: well under what the supervisor takes, even with the longest messages. */
const mostAtOnce = 500;
const lastReportMs = 500;
const againMs = 1000;

/**
 * An observer: carries the worker's events to the supervisor in batches, again when one did not arrive, so that its metrics miss none.
 * The oldest are dropped when too many wait; no guarantee rests on it.
 */
export function createReporter(control: ControlClient, bus: EventBus): { close(): Promise<void> } {
  let held: FettleEvent[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  let sending: Promise<void> = Promise.resolve();
  const send = async (signal?: AbortSignal) => {
    timer = undefined;
    while (held.length > 0) {
      const events = held.slice(0, mostAtOnce);
      held = held.slice(mostAtOnce);
      try {
        await control.report(events, { signal });
      } catch (error) {
        // What the supervisor refuses it would refuse again.
        if (!(error instanceof FettleError) || error.code !== "supervise.no-instance") continue;
        held = [...events, ...held].slice(-mostHeld);
        // With the next event, or after a while.
        timer ??= plan(againMs);
        return;
      }
    }
  };
  const plan = (ms: number) => setTimeout(() => void (sending = sending.then(() => send())), ms).unref();
  const end = bus.observe((event) => {
    held.push(unstamped(event));
    if (held.length > mostHeld) held.shift();
    timer ??= plan(gatherMs);
  });
  return {
    async close() {
      end();
      clearTimeout(timer);
      await sending;
      await send(AbortSignal.timeout(lastReportMs));
      clearTimeout(timer);
    },
  };
}

/** The supervisor numbers and stamps them anew. */
function unstamped({ seq: _seq, atMs: _atMs, time: _time, ...event }: StampedEvent): FettleEvent {
  return event as FettleEvent;
}
