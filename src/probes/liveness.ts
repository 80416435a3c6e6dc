import type { LivenessSpec } from "../plan/probe-spec.ts";
import { untilBeat } from "../util/pause.ts";
import type { Check } from "./check.ts";
import { tryOnce } from "./probe.ts";

/** Asks at its own pace until the check has failed so often in a row, and resolves with the last reason; undefined when the signal aborts. */
export async function untilUnresponsive(
  check: Check,
  { periodMs, timeoutMs, failures }: Pick<LivenessSpec, "periodMs" | "timeoutMs" | "failures">,
  { signal }: { signal: AbortSignal },
): Promise<string | undefined> {
  for (let failed = 0; ;) {
    await untilBeat(periodMs, { signal });
    if (signal.aborted) return undefined;
    const result = await tryOnce(check, timeoutMs, signal);
    if (signal.aborted) return undefined;
    failed = result.ok ? 0 : failed + 1;
    if (!result.ok && failed >= failures) return result.reason;
  }
}
