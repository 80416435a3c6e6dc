import { askUrl } from "../src/control/ask-url.ts";
import type { Snapshot } from "../src/control/protocol.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import { describeServices, describeSnapshot } from "./service-table.ts";

export interface Answer {
  readonly ready: boolean;
  /** Printed with --json. */
  readonly body: Record<string, unknown>;
  /** Printed for a person. */
  readonly lines: readonly string[];
}

/** RunPod's shape of GET /health, as the job API answers it. */
interface JobApiHealth {
  readonly workers?: Readonly<Record<string, number>>;
  readonly jobs?: Readonly<Record<string, number>>;
}

/** Asks the machine's health port or a job API; a base address or the whole address of /health. */
export async function askHealth(address: string, { signal }: { signal: AbortSignal }): Promise<Answer> {
  const url = healthUrl(address);
  const { ok, status, body } = await askUrl(url, { signal });
  if (isSnapshot(body)) return { ready: ok, body: { ...body }, lines: [describeSnapshot(body), ...describeServices(body)] };
  const { workers, jobs } = body as JobApiHealth;
  const able = workers && (workers["ready"] ?? 0) + (workers["idle"] ?? 0) + (workers["running"] ?? 0) > 0;
  const ready = ok && able !== false;
  const counts = Object.entries(jobs ?? {}).map(([name, count]) => `${name} ${count}`);
  return {
    ready,
    body: { url, status, ...body },
    lines: [`${url} is ${ready ? "ready" : `not ready (status ${status})`}`, ...(counts.length > 0 ? [`jobs: ${counts.join(", ")}`] : [])],
  };
}

function healthUrl(address: string): string {
  if (!URL.canParse(address) || !/^https?:$/.test(new URL(address).protocol)) {
    throw new FettleError("cli.bad-value", `Cannot use --url ${address}: expected an address such as http://127.0.0.1:9090.`);
  }
  const url = new URL(address);
  if (!/\/(health|status|ready)\/?$/.test(url.pathname)) url.pathname = `${url.pathname.replace(/\/$/, "")}/health`;
  return url.href;
}

function isSnapshot(body: object): body is Snapshot {
  return "services" in body && Array.isArray(body.services) && "state" in body && "profile" in body;
}
