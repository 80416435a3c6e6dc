import { pause } from "../../util/pause.ts";
import type { ConnectOptions, Endpoint, Engine } from "../engine.ts";
import { AttemptRun } from "./attempt-run.ts";
import { askMs, askState, order } from "./post.ts";

/** So often a process that shall become idle is asked. */
const settleMs = 100;
const mostSlots = 64;

/** How to talk with a handler's process. The number of slots is the child's to change: `concurrency_modifier` decides there. */
export function connectPython(endpoint: Endpoint, options: ConnectOptions): Engine {
  const url = endpoint.url.replace(/\/+$/, "");
  const closing = new AbortController();
  const watchers = new Set<() => void>();
  let slots = endpoint.slots;
  const onSlots = (now: number) => {
    if (!Number.isInteger(now) || now < 1 || now > mostSlots || now === slots) return;
    slots = now;
    for (const watcher of watchers) watcher();
  };
  return {
    name: endpoint.name,
    kind: "python",
    get slots() {
      return slots;
    },
    watchSlots: (watcher) => void watchers.add(watcher),
    async isReady({ signal }) {
      const state = await askState(url, { signal });
      if (state?.ready) onSlots(state.slots);
      return state?.ready === true;
    },
    run: (attempt, run) => new AttemptRun({ url, options, attempt, run, onSlots }).result(AbortSignal.any([run.signal, closing.signal])),
    async settle({ signal }) {
      for (;;) {
        signal.throwIfAborted();
        const limited = AbortSignal.any([signal, AbortSignal.timeout(askMs)]);
        await order(url, "/cancel", {}, { signal: limited }).catch(() => {});
        if ((await askState(url, { signal: limited }))?.running === 0) return;
        await pause(settleMs, { signal });
      }
    },
    freeMemory: ({ signal }) => order(url, "/free-memory", {}, { signal }),
    async close() {
      closing.abort();
    },
  };
}
