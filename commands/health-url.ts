import { FettleError, reasonOf } from "../src/errors/fettle-error.ts";
import type { Snapshot } from "../src/control/protocol.ts";
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
export async function askUrl(address: string, { signal }: { signal: AbortSignal }): Promise<Answer> {
  const url = healthUrl(address);
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { signal, headers: { accept: "application/json" } });
    text = await response.text();
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw new FettleError("supervise.no-instance", `Cannot reach ${url}: ${reasonOf(cause)}.`, { cause: error });
  }
  const body = parse(text);
  if (isSnapshot(body)) return { ready: response.ok, body: { ...body }, lines: [describeSnapshot(body), ...describeServices(body)] };
  const { workers, jobs } = body as JobApiHealth;
  const able = workers && (workers["ready"] ?? 0) + (workers["idle"] ?? 0) + (workers["running"] ?? 0) > 0;
  const ready = response.ok && able !== false;
  const counts = Object.entries(jobs ?? {}).map(([name, count]) => `${name} ${count}`);
  return {
    ready,
    body: { url, status: response.status, ...body },
    lines: [`${url} is ${ready ? "ready" : `not ready (status ${response.status})`}`, ...(counts.length > 0 ? [`jobs: ${counts.join(", ")}`] : [])],
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

function parse(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function isSnapshot(body: object): body is Snapshot {
  return "services" in body && Array.isArray(body.services) && "state" in body && "profile" in body;
}
