import { type BackoffOptions, backoffMs } from "../../util/backoff.ts";
import { pause } from "../../util/pause.ts";
import { askRunpod, discard, limitedSignal } from "./runpod-request.ts";
import { retryAfterMs } from "./runpod-take.ts";

export interface StopOptions {
  readonly url: string;
  readonly apiKey: string;
  /** The platform may hold the request for so long. */
  readonly pollMs: number;
  readonly onStop: (ids: readonly string[]) => void;
  /** Once for each row of failures. */
  readonly onTrouble: (message: string) => void;
}

/** An answer without news, or a failure, is followed by at least this. */
const floorMs = 1000;
/** A platform that repeats its news must not be asked in a loop. */
const afterNewsMs = 200;
const backoff: BackoffOptions = { firstMs: floorMs * 2, factor: 2, maxMs: 60_000, jitter: 0.5 };

/** Asks the platform which jobs its callers have cancelled, until the signal aborts. */
export async function watchStops({ url, apiKey, pollMs, onStop, onTrouble }: StopOptions, { signal }: { signal: AbortSignal }): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    using limit = limitedSignal(signal, pollMs);
    const answer = await askRunpod({ url, apiKey, headers: { "Content-Type": "application/json" } }, limit);
    if (answer.type === "aborted") {
      // The poll's own time is up: ask again.
      if (!signal.aborted) await pause(floorMs, { signal });
      continue;
    }
    let trouble: string | undefined;
    let waitMs = floorMs;
    if (answer.type === "dropped") trouble = answer.reason;
    else if (answer.response.status === 200) {
      const ids = stopsIn(await answer.response.text().catch(() => ""));
      if (ids === undefined) trouble = "its answer is no list of jobs";
      else if (ids.length > 0) {
        onStop(ids);
        waitMs = afterNewsMs;
      }
    } else {
      const { status } = answer.response;
      await discard(answer.response);
      if (status === 429) waitMs = Math.max(floorMs, retryAfterMs(answer.response) ?? 5000);
      else if (status >= 300) trouble = `it answered ${status}`;
    }
    if (trouble === undefined) failures = 0;
    else {
      failures += 1;
      if (failures === 1) onTrouble(`Cannot ask RunPod for cancelled jobs: ${trouble}; tried again in the background.`);
      waitMs = Math.max(floorMs, backoffMs(failures, backoff));
    }
    await pause(waitMs, { signal });
  }
}

/** `{"jobsToStop": ["id", …]}`; what is no string in it is left out. Undefined: not that at all. An empty body holds no news. */
export function stopsIn(text: string): readonly string[] | undefined {
  if (text.trim() === "") return [];
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    const list: unknown = (value as { jobsToStop?: unknown }).jobsToStop ?? [];
    return Array.isArray(list) ? list.filter((id): id is string => typeof id === "string") : undefined;
  } catch {
    return undefined;
  }
}
