import { backoffMs } from "../../util/backoff.ts";
import { pause } from "../../util/pause.ts";
import type { ComfyApi } from "./api.ts";
import { isRefused } from "./refused.ts";
import type { QueueItem } from "./server-state.ts";

const again = { firstMs: 20, factor: 2, maxMs: 500, jitter: 0 };
/** One refusal may be a connection that was kept too long. */
const goneAfterRefusals = 3;

/**
 * Ends one prompt and nobody else's: deleted while it waits, interrupted while it runs, until the queue does not hold it any more.
 * ComfyUI looks at an interrupt only between nodes and steps, and forgets one that came before the prompt began.
 * False: it still runs after `letGoMs`.
 */
export async function stopPrompt(api: ComfyApi, promptId: string, { letGoMs }: { letGoMs: number }): Promise<boolean> {
  const signal = AbortSignal.timeout(letGoMs);
  let refusals = 0;
  for (let tries = 1; !signal.aborted; tries++) {
    try {
      const { running, pending } = await api.queue({ signal });
      refusals = 0;
      const waits = pending.some((item) => item.promptId === promptId);
      const runs = running.some((item) => item.promptId === promptId);
      if (!waits && !runs) return true;
      if (waits) await api.unqueue([promptId], { signal });
      // Not both at once: an old server interrupts whatever runs. What waited a moment ago and runs by now is seen the next time.
      else await api.interrupt(promptId, { signal });
    } catch (error) {
      // Nobody listens: nothing runs there.
      if (!signal.aborted && isRefused(error) && ++refusals >= goneAfterRefusals) return true;
    }
    await pause(backoffMs(tries, again), { signal });
  }
  return false;
}

/** Ends what somebody has left behind and waits until it is gone. */
export async function settle(api: ComfyApi, isLeft: (item: QueueItem) => boolean, { signal }: { signal: AbortSignal }): Promise<void> {
  for (let tries = 1; ; tries++) {
    signal.throwIfAborted();
    const { running, pending } = await api.queue({ signal });
    const waiting = pending.filter(isLeft).map(({ promptId }) => promptId);
    const active = running.filter(isLeft);
    if (waiting.length === 0 && active.length === 0) return;
    if (waiting.length > 0) await api.unqueue(waiting, { signal });
    for (const { promptId } of active) await api.interrupt(promptId, { signal });
    await pause(backoffMs(tries, again), { signal });
  }
}
