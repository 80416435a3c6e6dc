import type { ControlClient } from "../control/client.ts";
import type { EventBus } from "../events/bus.ts";
import type { FettleEvent, StampedEvent } from "../events/event.ts";

/** Events gather for so long before one request carries them all; observers only, so no job waits for it. */
const gatherMs = 100;
const mostHeld = 2000;
const lastReportMs = 500;

/** An observer: carries the worker's events to the supervisor in batches. What cannot be carried is dropped; no guarantee rests on it. */
export function createReporter(control: ControlClient, bus: EventBus): { close(): Promise<void> } {
  let held: FettleEvent[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  let sending: Promise<void> = Promise.resolve();
  const send = async (signal?: AbortSignal) => {
    timer = undefined;
    const events = held;
    held = [];
    if (events.length > 0) await control.report(events, { signal }).catch(() => {});
  };
  const end = bus.observe((event) => {
    held.push(unstamped(event));
    if (held.length > mostHeld) held.shift();
    timer ??= setTimeout(() => void (sending = sending.then(() => send())), gatherMs).unref();
  });
  return {
    async close() {
      end();
      clearTimeout(timer);
      await sending;
      await send(AbortSignal.timeout(lastReportMs));
    },
  };
}

/** The supervisor numbers and stamps them anew. */
function unstamped({ seq: _seq, atMs: _atMs, time: _time, ...event }: StampedEvent): FettleEvent {
  return event as FettleEvent;
}
