// The one table of the job API: the router is built from it, src/server/openapi.json and docs/http-api.md are generated from it.

/** A JSON schema, as OpenAPI 3.1 takes it. */
export type Schema = Readonly<Record<string, unknown>>;

export interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly description: string;
  readonly schema: Schema;
}

export interface Route {
  readonly method: "get" | "post";
  readonly path: string;
  /** The handler's name. */
  readonly id: string;
  readonly summary: string;
  readonly description: string;
  readonly parameters?: readonly Parameter[];
  /** Takes a job. */
  readonly takesJob?: true;
  /** What a good answer is: a schema of components, or another type of content. */
  readonly answer: { readonly schema: string } | { readonly type: string };
  /** Beside 200 and, where a key is asked for, 401 and 403. */
  readonly statuses: readonly number[];
  /** Answers without a key: tells nothing of jobs. */
  readonly isOpen?: true;
}

const jobId: Parameter = { name: "id", in: "path", description: "The job's id.", schema: { type: "string" } };
const idempotencyKey: Parameter = {
  name: "Idempotency-Key",
  in: "header",
  description: "The job's id, for callers that cannot put it into the body.",
  schema: { type: "string", maxLength: 512 },
};
const wait: Parameter = {
  name: "wait",
  in: "query",
  description: "How long to wait for the job's end, in milliseconds.",
  schema: { type: "integer", minimum: 1000, maximum: 300_000, default: 90_000 },
};
const record: Parameter = {
  name: "record",
  in: "query",
  description: "1: with the job's record: its points in time, attempts, causes and warnings.",
  schema: { type: "string", enum: ["1"] },
};

const accepting = [400, 408, 413, 422, 503];

export const routes = [
  {
    method: "post",
    path: "/run",
    id: "run",
    summary: "Queue a job",
    description:
      "The job is in the journal on disk before this is answered. The same id with the same body gives the job that is there; with another body it is refused.",
    parameters: [idempotencyKey],
    takesJob: true,
    answer: { schema: "Queued" },
    statuses: accepting,
  },
  {
    method: "post",
    path: "/runsync",
    id: "runsync",
    summary: "Run a job and wait for its result",
    description: "A job that takes longer than `wait` goes on; its state is answered then, and /status has the result later.",
    parameters: [wait, idempotencyKey],
    takesJob: true,
    answer: { schema: "Job" },
    statuses: accepting,
  },
  {
    method: "get",
    path: "/status/{id}",
    id: "status",
    summary: "A job's state, and its result when it has ended",
    description: "Results are kept for jobs.keepResults (30 minutes).",
    parameters: [jobId, record],
    answer: { schema: "Job" },
    statuses: [404],
  },
  {
    method: "post",
    path: "/status/{id}",
    id: "statusByPost",
    summary: "The same, for clients of the SDK's local server",
    description: "As GET.",
    parameters: [jobId, record],
    answer: { schema: "Job" },
    statuses: [404],
  },
  {
    method: "get",
    path: "/stream/{id}",
    id: "stream",
    summary: "New pieces of a streaming job's output",
    description: "Each piece is handed out once. Ask again until the status is final and the list is empty. A job that does not stream has none.",
    parameters: [jobId],
    answer: { schema: "Stream" },
    statuses: [404],
  },
  {
    method: "post",
    path: "/stream/{id}",
    id: "streamByPost",
    summary: "The same, for clients of the SDK's local server",
    description: "As GET.",
    parameters: [jobId],
    answer: { schema: "Stream" },
    statuses: [404],
  },
  {
    method: "post",
    path: "/cancel/{id}",
    id: "cancel",
    summary: "Cancel a job",
    description: "A waiting job ends at once, a running one is interrupted on its engine. A job that has ended stays as it is.",
    parameters: [jobId],
    answer: { schema: "Job" },
    statuses: [404],
  },
  {
    method: "post",
    path: "/retry/{id}",
    id: "retry",
    summary: "Run an ended job again",
    description: "Under the same id and with the same body; its former result is forgotten. The body is kept as long as the result, up to 16 MB.",
    parameters: [jobId],
    answer: { schema: "Queued" },
    statuses: [404, 409, 503],
  },
  {
    method: "post",
    path: "/purge-queue",
    id: "purgeQueue",
    summary: "Cancel every waiting job",
    description: "Running jobs go on.",
    answer: { schema: "Purged" },
    statuses: [],
  },
  {
    method: "get",
    path: "/health",
    id: "health",
    summary: "Counts of jobs and workers",
    description: "As RunPod's endpoint shows them. The machine's own health has a port of its own (9090).",
    answer: { schema: "Health" },
    statuses: [],
  },
  {
    method: "get",
    path: "/events",
    id: "events",
    summary: "What happens to jobs, as server-sent events",
    description:
      "`state`, `progress` and (with previews=1) `preview`, each with JSON. A reader that comes back with Last-Event-ID gets what it missed; `gap` tells that some of it is gone. A reader that does not keep up loses previews first, then older progress.",
    parameters: [
      { name: "job", in: "query", description: "Only this job; its present state comes first.", schema: { type: "string" } },
      { name: "previews", in: "query", description: "1: with pictures of the work; they cost the engine time.", schema: { type: "string", enum: ["1"] } },
      { name: "Last-Event-ID", in: "header", description: "The id of the last event read.", schema: { type: "string" } },
    ],
    answer: { type: "text/event-stream" },
    statuses: [503],
  },
  {
    method: "get",
    path: "/ping",
    id: "ping",
    summary: "For load balancers: can a job run here?",
    description: "200: an engine is ready. 204: not yet. 503: not without help, or fettle is stopping.",
    answer: { schema: "Ping" },
    statuses: [204, 503],
    isOpen: true,
  },
  {
    method: "get",
    path: "/openapi.json",
    id: "openapi",
    summary: "This description",
    description: "OpenAPI 3.1.",
    answer: { type: "application/json" },
    statuses: [],
    isOpen: true,
  },
  {
    method: "get",
    path: "/docs",
    id: "docs",
    summary: "A page for people",
    description: "The same, to read, with examples for curl.",
    answer: { type: "text/html" },
    statuses: [],
    isOpen: true,
  },
] as const satisfies readonly Route[];

export type RouteId = (typeof routes)[number]["id"];

/** Hono's spelling of a path. */
export const honoPath = (path: string): string => path.replaceAll(/\{(\w+)\}/g, ":$1");
