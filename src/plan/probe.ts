import type { EngineConfig, ProbeConfig } from "../config/schema/index.ts";
import type { ProbeSpec, ProbeTarget } from "./probe-spec.ts";

/** A user's `readiness` → probe. */
export function probeOf(config: ProbeConfig): ProbeSpec {
  const timing = { periodMs: config.period, timeoutMs: config.timeout, startupMs: config.startup, logEvery: config.logEvery };
  return { ...targetOf(config), ...timing };
}

function targetOf({ http, tcp, exec, file, logLine }: ProbeConfig): ProbeTarget {
  if (http !== undefined) return { type: "http", url: http };
  if (tcp !== undefined) return { type: "tcp", host: tcp.host, port: tcp.port };
  if (exec !== undefined) return { type: "exec", argv: exec };
  if (file !== undefined) return { type: "file", path: file };
  return { type: "log-line", pattern: logLine ?? "" };
}

/** The readiness of an engine: GET of a path on it, at the pace that its config says. */
export function engineProbe({ readiness }: Pick<EngineConfig, "readiness">, url: string): ProbeSpec {
  return { type: "http", url, periodMs: readiness.period, timeoutMs: readiness.timeout, startupMs: readiness.startup, logEvery: readiness.logEvery };
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
