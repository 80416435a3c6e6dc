// server/ owns HTTP for people and their programs: RunPod's endpoint shapes over the HTTP source's desk.
// Takes: a `JobDesk` and how to listen. Gives: a Hono app and a listening address. Must not know engines, the pool or the journal.
import { type Context, Hono, type MiddlewareHandler } from "hono";
import type { JobDesk, JobView } from "../jobs/sources/http.ts";
import { requireKey } from "./bearer.ts";
import { readText } from "./read-text.ts";
import { replyError, replyFault, replyJob } from "./replies.ts";

export interface JobApiOptions {
  readonly desk: JobDesk;
  /** Empty: nobody is asked for a key. */
  readonly apiKey: string;
  readonly maxBodyBytes: number;
  /** Aborts at the very end: callers that still wait are answered with what is known. */
  readonly signal: AbortSignal;
}

/** RunPod's own: `/runsync` answers within 90 s, `?wait=` asks for 1 s to 300 s. */
const defaultWaitMs = 90_000;
const waitBounds = { min: 1000, max: 300_000 };

/** `/run`, `/runsync`, `/status/ID`, `/cancel/ID` and `/health`, bare and under `/v2/ENDPOINT`. */
export function createJobApi(options: JobApiOptions): Hono {
  const { desk, apiKey, signal } = options;
  const routes = new Hono();

  routes.post("/run", async (c) => {
    const submitted = await submit(c, options);
    return submitted instanceof Response ? submitted : c.json({ id: submitted.id, status: submitted.status });
  });

  routes.post("/runsync", async (c) => {
    const waitMs = readWait(c.req.query("wait"));
    if (waitMs === undefined) {
      const message = `Cannot wait ${c.req.query("wait")}: "wait" must be ${waitBounds.min} to ${waitBounds.max} milliseconds.`;
      return replyError(c, 422, { code: "job.invalid", message, path: "wait" });
    }
    const submitted = await submit(c, options);
    if (submitted instanceof Response) return submitted;
    const view = await desk.wait(submitted.id, waitMs, { signal: AbortSignal.any([signal, c.req.raw.signal]) });
    return await replyJob(c, view ?? submitted);
  });

  const status = async (c: Context) => await replyJobOr404(c, desk.view(c.req.param("id") ?? ""));
  routes.get("/status/:id", status);
  // The SDK's local server answers status to POST, and some of its users' clients ask so.
  routes.post("/status/:id", status);
  routes.post("/cancel/:id", async (c) => {
    const view = desk.cancel(c.req.param("id"));
    return view && !view.result ? c.json({ id: view.id, status: view.status }) : await replyJobOr404(c, view);
  });

  routes.get("/health", (c) => {
    const { jobs, engines } = desk.counts();
    const idle = Math.max(0, engines.ready - engines.busy);
    const workers = { idle, initializing: engines.total - engines.ready, ready: engines.ready, running: engines.busy, throttled: 0, unhealthy: 0 };
    return c.json({ jobs, workers });
  });

  const app = new Hono();
  if (apiKey) app.use("*", requireKey(apiKey) as MiddlewareHandler);
  app.route("/", routes);
  app.route("/v2/:endpoint", routes);
  app.notFound((c) =>
    replyError(c, 404, {
      code: "job.unknown",
      message: `Cannot answer ${c.req.method} ${c.req.path}: there is no such route.`,
      hint: "The routes are /run, /runsync, /status/ID, /cancel/ID and /health.",
    }),
  );
  app.onError((error, c) => replyError(c, 500, { code: "job.request-failed", message: `Cannot answer the request: ${error.message}.` }));
  return app;
}

async function submit(c: Context, { desk, maxBodyBytes }: JobApiOptions): Promise<JobView | Response> {
  const text = await readText(c.req.raw, maxBodyBytes);
  if (text.type === "too-large") {
    return replyError(c, 413, { code: "job.too-large", message: `Cannot accept the job: its body has more than ${maxBodyBytes} bytes.` });
  }
  if (text.type === "broken") return replyError(c, 400, { code: "job.invalid", message: `Cannot read the job: ${text.reason}.` });
  const envelope = desk.read(text.text);
  if (envelope.type === "broken") return replyFault(c, envelope);
  const submission = desk.submit(envelope, text.text);
  if (submission.type === "accepted") return submission.view;
  if (submission.failure.code === "job.queue-full") c.header("Retry-After", "5");
  return replyError(c, 503, submission.failure);
}

async function replyJobOr404(c: Context, view: JobView | undefined): Promise<Response> {
  if (view) return await replyJob(c, view);
  return replyError(c, 404, { code: "job.unknown", message: `Cannot find job ${(c.req.param("id") ?? "").slice(0, 80)}: there is none with this id.` });
}

function readWait(text: string | undefined): number | undefined {
  if (text === undefined) return defaultWaitMs;
  const ms = Number(text);
  return Number.isFinite(ms) && ms >= waitBounds.min && ms <= waitBounds.max ? ms : undefined;
}
