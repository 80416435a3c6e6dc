// server/ owns HTTP for people and their programs: RunPod's endpoint shapes over the HTTP source's desk, from one table of routes.
// Takes: a `JobDesk`, the feed and how to listen. Gives: a Hono app and a listening address. Must not know engines, the pool or the journal.
import { type Handler, Hono } from "hono";
import type { JobFeed } from "../jobs/job-feed.ts";
import type { JobDesk } from "../jobs/sources/http-desk.ts";
import { docsPage } from "./docs-page.ts";
import { followEvents } from "./events-route.ts";
import { guards } from "./guard.ts";
import { jobHandlers } from "./job-handlers.ts";
import openapiText from "./openapi.txt" with { type: "text" };
import { answerPing } from "./ping.ts";
import { replyError } from "./replies.ts";
import { honoPath, type Route, type RouteId, routes } from "./routes.ts";

export interface JobApiOptions {
  readonly desk: JobDesk;
  readonly feed: JobFeed;
  /** Empty: nobody is asked for a key. */
  readonly apiKey: string;
  /** The address it listens on; a loopback one takes only requests that name it. */
  readonly listen: string;
  readonly allowOrigins: readonly string[];
  readonly allowHosts: readonly string[];
  readonly maxBodyBytes: number;
  /** Aborts at the very end: callers that still wait are answered with what is known. */
  readonly signal: AbortSignal;
}

/** Every route of the table, bare and under `/v2/ENDPOINT`. A known route asked with another method says which it takes. */
export function createJobApi(options: JobApiOptions): Hono {
  const handlers: Readonly<Record<RouteId, Handler>> = {
    ...jobHandlers(options),
    events: (c) => followEvents(c, options),
    ping: (c) => answerPing(c, options.desk),
    openapi: (c) => c.body(openapiText, 200, { "Content-Type": "application/json" }),
    docs: (c) => c.html(docsPage()),
  };
  const app = new Hono();
  const mount = (path: string, method: Route["method"], handler: Handler) => {
    for (const prefix of ["", "/v2/:endpoint"]) app.on(method, prefix + honoPath(path), handler);
  };
  for (const { method, path, id, ...route } of routes) if ("isOpen" in route) mount(path, method, handlers[id]);
  for (const guard of guards(options)) app.use("*", guard);
  for (const { method, path, id, ...route } of routes) if (!("isOpen" in route)) mount(path, method, handlers[id]);
  for (const [path, own] of Map.groupBy(routes as readonly Route[], (route) => route.path)) {
    const allow = own.flatMap(({ method }) => (method === "get" ? ["GET", "HEAD"] : ["POST"])).join(", ");
    for (const prefix of ["", "/v2/:endpoint"]) {
      app.all(prefix + honoPath(path), (c) => {
        c.header("Allow", allow);
        return replyError(c, 405, { code: "job.wrong-method", message: `Cannot answer ${c.req.method} ${path}: it takes ${allow}.` });
      });
    }
  }
  app.get("/", (c) => c.redirect("/docs"));
  app.notFound((c) => {
    const message = `Cannot answer ${c.req.method} ${c.req.path.slice(0, 200)}: there is no such route.`;
    return replyError(c, 404, { code: "job.unknown", message, hint: "GET /docs lists the routes." });
  });
  app.onError((error, c) => replyError(c, 500, { code: "job.request-failed", message: `Cannot answer the request: ${error.message}.` }));
  return app;
}
