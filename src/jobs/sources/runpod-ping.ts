import { pause } from "../../util/pause.ts";
import { wireId } from "./runpod-id.ts";
import { askRunpod, discard, limitedSignal } from "./runpod-request.ts";
import { fillTemplate, type RunpodIdentity, withQuery } from "./runpod-url.ts";

export interface PingTarget {
  readonly template: string;
  readonly apiKey: string;
  readonly identity: RunpodIdentity;
}

export interface PingOptions extends PingTarget {
  readonly intervalMs: number;
  /** Ids of every job this worker holds, asked anew for each ping. */
  readonly heldIds: () => Iterable<string>;
  /** A ping says "this worker is well": none is sent while this is false. */
  readonly isAlive: () => boolean;
  /** Pings have fallen silent, or are heard again. */
  readonly onSilence: (isSilent: boolean) => void;
}

/** The platform reads this as the SDK's version and is said to need it; the protocol spoken here is that of 1.12.0. */
const protocolVersion = "1.12.0";
const maxIdsBytes = 64 * 1024;
const shortestIntervalMs = 100;
const triesAfterFailure = 3;
/** How soon a recovered engine is noticed. */
const lookAgainMs = 1000;
const unhealthyLimitMs = 2000;
const maxReasonLength = 256;

/** Tells the platform "alive, and these jobs are here" from the first second until the signal aborts. Nothing it meets can hurt the work. */
export async function keepPinging(options: PingOptions, { signal }: { signal: AbortSignal }): Promise<void> {
  const { intervalMs, heldIds, isAlive, onSilence } = options;
  const period = Math.max(shortestIntervalMs, intervalMs);
  let failures = 0;
  let isSilent = false;
  while (!signal.aborted) {
    if (isSilent === isAlive()) onSilence((isSilent = !isSilent));
    if (isSilent) {
      await pause(Math.min(period, lookAgainMs), { signal });
      continue;
    }
    const ids = joinIds(heldIds());
    const isGood = await ping(options, { ...(ids && { job_id: ids }) }, { signal, limitMs: period * 2 });
    failures = isGood ? 0 : failures + 1;
    const soon = failures > 0 && failures <= triesAfterFailure;
    await pause(soon ? Math.min(period, 1000 * failures) : period, { signal });
  }
}

/** The last ping of a worker that will not work, as the SDK's fitness checks send it: once, and 2 s at most. */
export async function pingUnhealthy(target: PingTarget, { check, reason }: { check: string; reason: string }): Promise<void> {
  const query = { status: "unhealthy", check, reason: reason.slice(0, maxReasonLength) };
  await ping(target, query, { signal: new AbortController().signal, limitMs: unhealthyLimitMs });
}

async function ping(
  { template, apiKey, identity }: PingTarget,
  query: Readonly<Record<string, string>>,
  { signal, limitMs }: { signal: AbortSignal; limitMs: number },
): Promise<boolean> {
  const url = withQuery(fillTemplate(template, identity, identity.podId), { ...query, runpod_version: protocolVersion });
  using limit = limitedSignal(signal, limitMs);
  const answer = await askRunpod({ url, apiKey }, limit);
  if (answer.type !== "answered") return false;
  await discard(answer.response);
  return answer.response.status < 500 && answer.response.status !== 429;
}

/** Joined by comma and cut at one, as the SDK's snapshot is. */
export function joinIds(ids: Iterable<string>): string {
  let text = "";
  for (const id of ids) {
    const wire = wireId(id);
    if (text.length + wire.length >= maxIdsBytes) break;
    text += text ? `,${wire}` : wire;
  }
  return text;
}
