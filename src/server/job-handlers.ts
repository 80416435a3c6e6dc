import type { Context, Handler } from "hono";
import type { JobDesk, JobView, Submission } from "../jobs/sources/http-desk.ts";
import type { JobApiOptions } from "./job-api.ts";
import { createBodyRoom } from "./body-room.ts";
import { readText } from "./read-text.ts";
import { replyError, replyFault, replyJob, replyRefused } from "./replies.ts";
import type { RouteId } from "./routes.ts";

type JobRoute = Exclude<RouteId, "events" | "ping" | "openapi" | "docs">;

/** RunPod's own: `/runsync` answers within 90 s, `?wait=` asks for 1 s to 300 s. */
const defaultWaitMs = 90_000;
const waitBounds = { min: 1000, max: 300_000 };

/** The routes that speak of jobs. */
export function jobHandlers(options: JobApiOptions): Readonly<Record<JobRoute, Handler>> {
  const { desk, signal, maxBodyBytes } = options;
  const room = createBodyRoom(maxBodyBytes);

  const submit = async (c: Context): Promise<JobView | Response> => {
    const submitted = await readJob(c, desk, (request) => readText(request, { maxBytes: maxBodyBytes, room }));
    if (submitted instanceof Response) return submitted;
    return submitted.type === "accepted" ? submitted.view : replyRefused(c, submitted);
  };
  const status: Handler = async (c) => {
    const view = desk.view(idOf(c));
    if (!view) return unknownJob(c);
    return await replyJob(c, view, { withRecord: c.req.query("record") === "1" });
  };
  const stream: Handler = async (c) => {
    const part = await desk.stream(idOf(c));
    if (!part) return unknownJob(c);
    const { view, chunks } = part;
    const head = JSON.stringify({ status: view.status, ...(view.progress && { progress: view.progress }) }).slice(0, -1);
    const body = `${head},"stream":[${chunks.map((chunk) => `{"output":${chunk}}`).join(",")}]}`;
    return c.body(body, 200, { "Content-Type": "application/json" });
  };

  return {
    run: async (c) => {
      const submitted = await submit(c);
      return submitted instanceof Response ? submitted : c.json({ id: submitted.id, status: submitted.status });
    },
    runsync: async (c) => {
      const waitMs = readWait(c.req.query("wait"));
      if (waitMs === undefined) {
        const message = `Cannot wait ${c.req.query("wait")?.slice(0, 40)}: "wait" must be ${waitBounds.min} to ${waitBounds.max} milliseconds.`;
        return replyError(c, 422, { code: "job.invalid", message, path: "wait" });
      }
      const submitted = await submit(c);
      if (submitted instanceof Response) return submitted;
      const view = await desk.wait(submitted.id, waitMs, { signal: AbortSignal.any([signal, c.req.raw.signal]) });
      return await replyJob(c, view ?? submitted);
    },
    status,
    statusByPost: status,
    stream,
    streamByPost: stream,
    cancel: async (c) => {
      const view = desk.cancel(idOf(c));
      if (!view) return unknownJob(c);
      return view.result ? await replyJob(c, view) : c.json({ id: view.id, status: view.status });
    },
    retry: async (c) => {
      const submitted = await desk.retry(idOf(c));
      if (!submitted) return unknownJob(c);
      return submitted.type === "accepted" ? c.json({ id: submitted.view.id, status: submitted.view.status }) : replyRefused(c, submitted);
    },
    purgeQueue: async (c) => c.json({ removed: await desk.purge(), status: "completed" }),
    health: (c) => {
      const { jobs, engines } = desk.counts();
      const idle = Math.max(0, engines.ready - engines.busy);
      const away = engines.total - engines.ready;
      const isDead = desk.fitness() === "dead";
      const workers = { idle, initializing: isDead ? 0 : away, ready: engines.ready, running: engines.busy, throttled: 0, unhealthy: isDead ? away : 0 };
      return c.json({ jobs, workers });
    },
  };
}

const idOf = (c: Context): string => c.req.param("id") ?? "";

function unknownJob(c: Context): Response {
  return replyError(c, 404, { code: "job.unknown", message: `Cannot find job ${idOf(c).slice(0, 80)}: there is none with this id.` });
}

async function readJob(c: Context, desk: JobDesk, read: (request: Request) => ReturnType<typeof readText>): Promise<Submission | Response> {
  const body = await read(c.req.raw);
  switch (body.type) {
    case "too-large":
      return replyError(c, 413, { code: "job.too-large", message: `Cannot accept the job: its body has more than ${body.maxBytes} bytes.` });
    case "no-room":
      c.header("Retry-After", "1");
      return replyError(c, 503, { code: "job.queue-full", message: "Cannot accept the job: too many large jobs are arriving at once." });
    case "broken":
      return replyError(c, body.late ? 408 : 400, { code: "job.invalid", message: `Cannot read the job: ${body.reason}.` });
    default:
  }
  const envelope = desk.read(body.text);
  if (envelope.type === "broken") return replyFault(c, envelope);
  const key = keyOf(c.req.header("idempotency-key"));
  if (key === undefined) return await desk.submit(envelope, body.text);
  const wrong = (reason: string) => replyError(c, 422, { code: "job.invalid", message: `Cannot accept the job: ${reason}.`, path: "Idempotency-Key" });
  if (key === "") return wrong("Idempotency-Key must have 1 to 512 printable characters");
  if (envelope.id !== undefined && envelope.id !== key) return wrong('Idempotency-Key and "id" differ; one of them is enough');
  return await desk.submit({ ...envelope, id: key }, body.text);
}

/** The header's text, with or without the quotes that its standard wants; empty when it cannot name a job. */
function keyOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const key = header.trim().replace(/^"(.*)"$/, "$1");
  // oxlint-disable-next-line no-control-regex -- control characters in an id would reach log lines
  return key.length > 512 || /[\u0000-\u001f\u007f]/.test(key) ? "" : key;
}

function readWait(text: string | undefined): number | undefined {
  if (text === undefined) return defaultWaitMs;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  return ms >= waitBounds.min && ms <= waitBounds.max ? ms : undefined;
}
