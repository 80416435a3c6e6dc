import type { EngineConfig, LivenessConfig, ProbeConfig } from "../config/schema/index.ts";
import type { LivenessSpec, ProbeSpec, ProbeTarget } from "./probe-spec.ts";

/** A user's `readiness` → probe. */
export function probeOf(config: ProbeConfig): ProbeSpec {
  const timing = { periodMs: config.period, timeoutMs: config.timeout, startupMs: config.startup, logEvery: config.logEvery };
  const { successes, failures, watch } = config;
  return { ...targetOf(config), ...timing, successes, failures, watchMs: watch };
}

/** A user's `liveness` → probe. */
export function livenessOf({ http, tcp, exec, period, timeout, failures }: LivenessConfig): LivenessSpec {
  const timing = { periodMs: period, timeoutMs: timeout, failures };
  if (http !== undefined) return { type: "http", url: http, ...timing };
  return tcp === undefined ? { type: "exec", argv: exec ?? [], ...timing } : { type: "tcp", host: tcp.host, port: tcp.port, ...timing };
}

function targetOf({ http, tcp, exec, file, logLine, fd }: ProbeConfig): ProbeTarget {
  if (http !== undefined) return { type: "http", url: http };
  if (tcp !== undefined) return { type: "tcp", host: tcp.host, port: tcp.port };
  if (exec !== undefined) return { type: "exec", argv: exec };
  if (file !== undefined) return { type: "file", path: file };
  if (fd !== undefined) return { type: "fd", fd };
  return { type: "log-line", pattern: logLine ?? "" };
}

/** An engine's liveness asks what its readiness asks. */
export function livenessOfEngine(readiness: ProbeSpec, { liveness }: Pick<EngineConfig, "liveness">): { readonly liveness?: LivenessSpec } {
  if (!liveness || readiness.type !== "http") return {};
  const { period, timeout, failures } = liveness;
  return { liveness: { type: "http", url: readiness.url, periodMs: period, timeoutMs: timeout, failures } };
}

/** The readiness of an engine: GET of a path on it, at the pace that its config says. */
export function engineProbe({ readiness }: Pick<EngineConfig, "readiness">, url: string): ProbeSpec {
  const { period, timeout, startup, logEvery, failures, watch } = readiness;
  return { type: "http", url, periodMs: period, timeoutMs: timeout, startupMs: startup, logEvery, failures, watchMs: watch };
}

/** Where a client on this machine reaches a listener: the wildcard addresses mean every interface. */
export function reachableHost(listen: string): string {
  if (listen === "0.0.0.0" || listen === "*") return "127.0.0.1";
  return listen === "::" ? "::1" : listen;
}

export function httpUrl(listen: string, port: number): string {
  const host = reachableHost(listen);
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}
