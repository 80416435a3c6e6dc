import type { Context } from "hono";
import type { FeedMessage, JobFeed } from "../jobs/job-feed.ts";
import type { FeedReader } from "../jobs/feed-reader.ts";
import type { JobDesk } from "../jobs/sources/http-desk.ts";
import { replyError } from "./replies.ts";

/** A comment so often tells both ends, and whoever stands between them, that the connection lives. */
const heartbeatMs = 15_000;
/** Browsers come back after so long. */
const comeBackMs = 2000;

/** Server-sent events of jobs until the reader goes, falls behind for good, or fettle ends. */
export function followEvents(c: Context, { feed, desk, signal }: { feed: JobFeed; desk: JobDesk; signal: AbortSignal }): Response {
  const job = c.req.query("job") || undefined;
  const lastId = c.req.header("last-event-id");
  const listening = signal.aborted ? undefined : feed.listen({ job, wantsPreviews: c.req.query("previews") === "1", lastId });
  if (!listening) {
    c.header("Retry-After", "5");
    return replyError(c, 503, { code: "job.queue-full", message: "Cannot follow the events: too many readers do so already." });
  }
  const { reader, missed } = listening;
  const first = [`retry: ${comeBackMs}\n\n`];
  if (lastId !== undefined && missed === undefined) first.push("event: gap\ndata: {}\n\n");
  if (missed) first.push(...missed.map(lineOf));
  else if (job !== undefined) first.push(...stateOf(desk, job));
  return c.body(streamOf(reader, first.join(""), signal), 200, {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    // nginx would gather the events otherwise.
    "X-Accel-Buffering": "no",
  });
}

/** Pulled by the connection: a reader that does not read makes nothing pile up here, only in its own bounded line. */
function streamOf(reader: FeedReader, first: string, signal: AbortSignal): ReadableStream<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder();
  const onEnd = () => reader.close();
  signal.addEventListener("abort", onEnd, { once: true });
  let isFirst = true;
  return new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      async pull(controller) {
        if (isFirst) {
          isFirst = false;
          return controller.enqueue(encoder.encode(first));
        }
        const message = await reader.next(heartbeatMs);
        if (message === undefined) {
          signal.removeEventListener("abort", onEnd);
          return controller.close();
        }
        controller.enqueue(encoder.encode(message === "quiet" ? ": still here\n\n" : lineOf(message)));
      },
      cancel() {
        signal.removeEventListener("abort", onEnd);
        reader.close();
      },
    },
    { highWaterMark: 0 },
  );
}

const lineOf = ({ id, event, data }: FeedMessage): string => `${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${data}\n\n`;

/** Where the job stands now, for a reader that begins in the middle. */
function stateOf(desk: JobDesk, job: string): string[] {
  const view = desk.view(job);
  if (!view) return [];
  const { id, status, progress } = view;
  const state = `event: state\ndata: ${JSON.stringify({ id, source: "http", status, isNow: true })}\n\n`;
  return progress ? [state, `event: progress\ndata: ${JSON.stringify({ id, source: "http", ...progress })}\n\n`] : [state];
}
