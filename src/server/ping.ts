import { type Context, Hono } from "hono";
import type { JobDesk } from "../jobs/sources/http-desk.ts";

/** As RunPod's load balancer asks: 200 sends requests here, 204 waits, anything else takes the worker out. */
export function answerPing(c: Context, desk: JobDesk): Response {
  const fitness = desk.fitness();
  if (fitness === "starting") return c.body(null, 204);
  return c.json({ status: fitness }, fitness === "ready" ? 200 : 503);
}

/** `/ping` and nothing else, for a port of its own. */
export function createPingApi(desk: JobDesk): Hono {
  const app = new Hono();
  app.get("/ping", (c) => answerPing(c, desk));
  return app;
}
