import { pause } from "../../util/pause.ts";
import { askRunpod, discard, limitedSignal } from "./runpod-request.ts";
import { fillTemplate, type RunpodIdentity, withQuery } from "./runpod-url.ts";

export interface PingOptions {
  readonly template: string;
  readonly apiKey: string;
  readonly identity: RunpodIdentity;
  readonly intervalMs: number;
  /** Ids of every job this worker holds, asked anew for each ping. */
  readonly heldIds: () => Iterable<string>;
}

/** The platform reads this as the SDK's version and is said to need it; the protocol spoken here is that of 1.12.0. */
const protocolVersion = "1.12.0";
const maxIdsBytes = 64 * 1024;
const shortestIntervalMs = 200;
const triesAfterFailure = 3;

/** Tells the platform "alive, and these jobs are here" from the first second until the signal aborts. Nothing it meets can hurt the work. */
export async function keepPinging({ template, apiKey, identity, intervalMs, heldIds }: PingOptions, { signal }: { signal: AbortSignal }): Promise<void> {
  const period = Math.max(shortestIntervalMs, intervalMs);
  let failures = 0;
  while (!signal.aborted) {
    const ids = joinIds(heldIds());
    const url = withQuery(fillTemplate(template, identity, identity.podId), { ...(ids && { job_id: ids }), runpod_version: protocolVersion });
    using limit = limitedSignal(signal, period * 2);
    const answer = await askRunpod({ url, apiKey }, limit);
    const isGood = answer.type === "answered" && answer.response.status < 500 && answer.response.status !== 429;
    if (answer.type === "answered") await discard(answer.response);
    failures = isGood ? 0 : failures + 1;
    const soon = failures > 0 && failures <= triesAfterFailure;
    await pause(soon ? Math.min(period, 1000 * failures) : period, { signal });
  }
}

/** Joined by comma and cut at one, as the SDK's snapshot is. */
export function joinIds(ids: Iterable<string>): string {
  let text = "";
  for (const id of ids) {
    if (text.length + id.length >= maxIdsBytes) break;
    text += text ? `,${id}` : id;
  }
  return text;
}
