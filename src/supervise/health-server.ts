import type { Snapshot } from "../control/protocol.ts";
import { reasonOf } from "../errors/fettle-error.ts";
import { jsonAnswer, textAnswer } from "./http-answer.ts";
import { serve, type Served } from "./serve.ts";

export interface HealthAddress {
  readonly listen: string;
  /** 0 lets the system choose. */
  readonly port: number;
}

/** The machine's health over HTTP, for orchestrators: /health and /ready answer 200 or 503, /status always 200, /metrics for Prometheus. */
export async function openHealthServer(
  { listen, port }: HealthAddress,
  snapshot: () => Snapshot,
  metrics: () => Promise<string>,
): Promise<{ type: "listening"; server: Served } | { type: "failed"; reason: string }> {
  try {
    return { type: "listening", server: await serve((request) => answer(request, snapshot, metrics), { host: listen, port }) };
  } catch (error) {
    return { type: "failed", reason: (error as NodeJS.ErrnoException).code === "EADDRINUSE" ? "the port is taken" : reasonOf(error) };
  }
}

async function answer({ method, url }: Request, snapshot: () => Snapshot, metrics: () => Promise<string>): Promise<Response> {
  const path = new URL(url).pathname;
  if (method !== "GET" && method !== "HEAD") return jsonAnswer(405, { error: { code: "cli.bad-value", message: "Only GET is answered here.", hint: "" } });
  const now = snapshot();
  const status = now.state === "ready" ? 200 : 503;
  if (path === "/health") return jsonAnswer(status, now);
  if (path === "/ready") return jsonAnswer(status, { ready: status === 200, state: now.state });
  if (path === "/status") return jsonAnswer(200, now);
  if (path === "/metrics") return textAnswer(200, await metrics());
  return jsonAnswer(404, { error: { code: "cli.bad-value", message: `Nothing is at ${path}.`, hint: "There are /health, /ready, /status and /metrics." } });
}
