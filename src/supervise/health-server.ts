import { createServer, type Server } from "node:http";
import type { Snapshot } from "../control/protocol.ts";
import { reasonOf } from "../errors/fettle-error.ts";
import { sendJson, sendText } from "./http-answer.ts";
import { formatMetrics } from "./metrics.ts";

export interface HealthAddress {
  readonly listen: string;
  /** 0 lets the system choose. */
  readonly port: number;
}

/** The machine's health over HTTP, for orchestrators: /health and /ready answer 200 or 503, /status always 200, /metrics for Prometheus. */
export async function openHealthServer(
  { listen, port }: HealthAddress,
  snapshot: () => Snapshot,
): Promise<{ type: "listening"; server: Server } | { type: "failed"; reason: string }> {
  const server = createServer({ requestTimeout: 10_000 }, (request, response) => {
    const path = (request.url ?? "/").split("?")[0];
    request.resume();
    if (request.method !== "GET" && request.method !== "HEAD")
      return sendJson(response, 405, { error: { code: "cli.bad-value", message: "Only GET is answered here.", hint: "" } });
    const now = snapshot();
    const status = now.state === "ready" ? 200 : 503;
    if (path === "/health") return sendJson(response, status, now);
    if (path === "/ready") return sendJson(response, status, { ready: status === 200, state: now.state });
    if (path === "/status") return sendJson(response, 200, now);
    if (path === "/metrics") return sendText(response, 200, formatMetrics(now));
    sendJson(response, 404, { error: { code: "cli.bad-value", message: `Nothing is at ${path}.`, hint: "There are /health, /ready, /status and /metrics." } });
  });
  return await new Promise((resolve) => {
    server.once("error", (error) =>
      resolve({ type: "failed", reason: (error as NodeJS.ErrnoException).code === "EADDRINUSE" ? "the port is taken" : reasonOf(error) }),
    );
    server.listen({ host: listen, port }, () => resolve({ type: "listening", server }));
  });
}
