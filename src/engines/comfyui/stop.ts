import { backoffMs } from "../../util/backoff.ts";
import { pause } from "../../util/pause.ts";
import type { ComfyApi } from "./api.ts";
import { isRefused } from "./follow.ts";

const again = { firstMs: 20, factor: 2, maxMs: 500, jitter: 0 };

/**
 * Ends one prompt and nobody else's: deleted while it waits, interrupted while it runs, until the queue does not hold it any more.
 * ComfyUI looks at an interrupt only between nodes and steps, and forgets one that came before the prompt began.
 * False: it still runs after `letGoMs`.
 */
export async function stopPrompt(api: ComfyApi, promptId: string, { letGoMs }: { letGoMs: number }): Promise<boolean> {
  const signal = AbortSignal.timeout(letGoMs);
  for (let tries = 1; !signal.aborted; tries++) {
    try {
      const { running, pending } = await api.queue({ signal });
      const waits = pending.some((item) => item.promptId === promptId);
      const runs = running.some((item) => item.promptId === promptId);
      if (!waits && !runs) return true;
      // Both: what waited a moment ago may run by now.
      if (waits) await api.unqueue([promptId], { signal });
      await api.interrupt(promptId, { signal });
    } catch (error) {
      // Nobody listens: nothing runs there.
      if (isRefused(error)) return true;
    }
    await pause(backoffMs(tries, again), { signal });
  }
  return false;
}

/** Ends what a former life of this worker left behind, known by its client id, and waits until it is gone. */
export async function settle(api: ComfyApi, isOurs: (clientId: string) => boolean, { signal }: { signal: AbortSignal }): Promise<void> {
  for (let tries = 1; ; tries++) {
    signal.throwIfAborted();
    const { running, pending } = await api.queue({ signal });
    const ours = (item: { readonly clientId: string | undefined }) => item.clientId !== undefined && isOurs(item.clientId);
    const waiting = pending.filter(ours).map(({ promptId }) => promptId);
    const active = running.filter(ours);
    if (waiting.length === 0 && active.length === 0) return;
    if (waiting.length > 0) await api.unqueue(waiting, { signal });
    for (const { promptId } of active) await api.interrupt(promptId, { signal });
    await pause(backoffMs(tries, again), { signal });
  }
}
