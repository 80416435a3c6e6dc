/**
 * A local RunPod: a real HTTP server that speaks the serverless worker protocol (job-take single and batch with long polls,
 * job-done, job-stream, ping, job-stop) to any worker, the official SDK included.
 * Takes jobs from a test or a bench, gives back everything the worker did, with monotonic stamps. Must not know the product.
 * A job whose answer could not be written is queued again, as a lease that was never received.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createFacts } from "./facts.ts";
import { createFaultBook, type Fault, type FaultRule, type Frequency } from "./runpod-faults.ts";
import { createJobQueue, type Outstanding } from "./runpod-queue.ts";
import {
  type BodyRecord,
  type Endpoint,
  type JobRecord,
  openRecord,
  type PlatformJob,
  type PostRecord,
  readBody,
  type RequestRecord,
} from "./runpod-records.ts";
import { brokenBody, brokenRules, isProgress } from "./runpod-rules.ts";

export { headerOf } from "./runpod-records.ts";
export type { Endpoint, Fault, JobRecord, PlatformJob, PostRecord, RequestRecord };

export type PlatformOptions = {
  /** How long a take or a stop poll without news is held; 90 s is where the SDK cuts. Default 25,000. */
  holdMs?: number;
  /** Bodies up to this size are kept as text, larger ones hashed and dropped. Default 256 KiB; Infinity keeps all. */
  keepBodyBytes?: number;
  apiKey?: string;
  endpointId?: string;
  podId?: string;
  /** Put into the templates as `$RUNPOD_GPU_TYPE_ID`, which the worker must replace; without it they hold a plain name. */
  gpuTypeId?: string;
  pingIntervalMs?: number;
  /** The URLs of RunPod's own simulator: no job in the path of job-done, no query, no key. */
  simulator?: boolean;
};

type Wait = { signal?: AbortSignal };
type Held = { record: RequestRecord; response: ServerResponse; timer: ReturnType<typeof setTimeout>; news: () => string | undefined };

export type RunpodPlatform = Awaited<ReturnType<typeof startRunpodPlatform>>;

/** Listens on a free port of 127.0.0.1. */
export async function startRunpodPlatform(options: PlatformOptions = {}) {
  const { keepBodyBytes = 256 * 1024, apiKey = "local-platform-key", endpointId = "localep", podId = "localpod01" } = options;
  let holdMs = options.holdMs ?? 25_000;
  const queue = createJobQueue();
  const faults = createFaultBook();
  const facts = createFacts(() => JSON.stringify(summary()));
  const requests: RequestRecord[] = [];
  const violations: string[] = [];
  const held = new Set<Held>();
  const gates = new Map<Endpoint, { open: Promise<void>; waiting: number }>();
  const stops: string[] = [];
  const raw: string[] = [];
  const rawStops: string[] = [];
  const counts = { posts: 0, repeats: 0, unauthorized: 0 };

  const server = createServer({ keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 }, (request, response) => {
    const record = openRecord(request, requests.length);
    requests.push(record);
    void serve(request, response, record).finally(facts.changed);
    facts.changed();
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v2/${endpointId}`;

  async function serve(request: IncomingMessage, response: ServerResponse, record: RequestRecord): Promise<void> {
    const { endpoint } = record;
    const broken = brokenRules(record, apiKey);
    violations.push(...broken);
    if (endpoint === "unknown") return answer(record, response, 404);
    const fault = faults.next(endpoint);
    if (fault) record.fault = Object.keys(fault)[0] ?? "";
    if (fault && "drop" in fault && fault.drop !== "after") {
      if (fault.drop === "mid") await new Promise((resolve) => request.once("data", resolve).once("end", resolve));
      return void request.socket.destroy();
    }
    let body: BodyRecord | undefined;
    if (record.method === "POST") {
      record.bodyEndAtMs = 0;
      body = await readBody(request, keepBodyBytes);
      if (!body) return;
      record.bodyEndAtMs = performance.now();
    }
    if (broken.some((rule) => rule.includes("Authorization"))) {
      counts.unauthorized += 1;
      return answer(record, response, 401);
    }
    if (broken.some((rule) => rule.includes("unreplaced"))) return answer(record, response, endpoint === "job-done" ? 500 : 400);
    if (body) return servePost(record, response, body, fault);
    if (fault && !("drop" in fault)) return answerFault(record, response, fault);
    if (endpoint === "ping") return answer(record, response, 200, "{}");
    if (endpoint === "job-stop") return hold(record, response, stopNews);
    if ([...held].some((other) => other.record.workerId === record.workerId && other.record.endpoint.startsWith("job-take"))) {
      violations.push("a second take while one is in flight");
    }
    const count = endpoint === "job-take" ? 1 : Number(record.query.get("batch_size") ?? 1);
    if (fault) return void (handOut(record, response, count, true) ?? request.socket.destroy());
    return hold(record, response, () => handOut(record, response, count));
  }

  async function servePost(record: RequestRecord, response: ServerResponse, body: BodyRecord, fault: Fault | undefined) {
    const job = queue.get(record.jobId);
    violations.push(...brokenBody(record, body, job));
    const post: PostRecord = {
      ...body,
      request: record,
      postedAtMs: record.bodyEndAtMs,
      isStream: record.query.get("isStream"),
      accepted: false,
    };
    counts.posts += 1;
    if (job) {
      const list = record.endpoint === "job-stream" ? job.chunks : isProgress(body) ? job.progress : job.results;
      if (list === job.results && list.length > 0) counts.repeats += 1;
      list.push(post);
    }
    const gate = gates.get(record.endpoint as Endpoint);
    if (gate) {
      gate.waiting += 1;
      facts.changed();
      await gate.open;
      gate.waiting -= 1;
    }
    const refused = fault && ("hang" in fault || ("status" in fault && fault.status >= 400));
    if (!refused) queue.accept(post, record.jobId);
    if (!fault) return answer(record, response, 200, "{}");
    if ("drop" in fault) return void response.socket?.destroy();
    return answerFault(record, response, fault);
  }

  /** Answers at once when there is news, else keeps the poll open until there is, or until the hold ends with 204. */
  function hold(record: RequestRecord, response: ServerResponse, news: () => string | undefined): void {
    const now = news();
    if (now !== undefined) return answer(record, response, 200, now);
    const poll: Held = { record, response, news, timer: setTimeout(() => end(204), holdMs) };
    const end = (status: number) => {
      clearTimeout(poll.timer);
      if (held.delete(poll) && status) answer(record, response, status);
    };
    held.add(poll);
    response.once("close", () => {
      if (held.has(poll)) record.status = 499;
      end(0);
      facts.changed();
    });
  }

  function wakePolls(): void {
    for (const poll of held) {
      const news = poll.news();
      if (news === undefined) continue;
      clearTimeout(poll.timer);
      held.delete(poll);
      answer(poll.record, poll.response, 200, news);
    }
    facts.changed();
  }

  function handOut(record: RequestRecord, response: ServerResponse, count: number, cut = false): string | undefined {
    const text = raw.shift();
    if (text !== undefined) return text;
    const handed = queue.handOut(count, record);
    if (handed.length === 0) return undefined;
    response.once("finish", () => handed.forEach(({ handout }) => (handout.delivered = "yes")));
    response.once("close", () => {
      for (const { handout, undo } of handed.reverse()) if (handout.delivered === "writing") undo();
      wakePolls();
    });
    if (cut) return void response.socket?.destroy();
    return record.endpoint === "job-take" ? handed[0]?.json : `[${handed.map(({ json }) => json).join(",")}]`;
  }

  function stopNews(): string | undefined {
    const text = rawStops.shift();
    if (text !== undefined || stops.length === 0) return text;
    const ids = stops.splice(0);
    for (const id of ids) queue.stop(id, "delivered");
    return JSON.stringify({ jobsToStop: ids });
  }

  function answer(record: RequestRecord, response: ServerResponse, status: number, text = "", type = "application/json"): void {
    record.status = status;
    record.answeredAtMs = performance.now();
    response.writeHead(status, status === 204 ? {} : { "Content-Type": type, "Content-Length": Buffer.byteLength(text) });
    response.end(text);
    facts.changed();
  }

  function answerFault(record: RequestRecord, response: ServerResponse, fault: Exclude<Fault, { drop: unknown }>): void {
    if ("hang" in fault) return;
    if ("html" in fault) return answer(record, response, 200, "<html><body>Bad gateway</body></html>", "text/html");
    if ("badJson" in fault) return answer(record, response, 200, '{"id": "half a j');
    if ("emptyBody" in fault) return answer(record, response, 200);
    if (fault.retryAfter !== undefined) response.setHeader("Retry-After", fault.retryAfter);
    return answer(record, response, fault.status, '{"error":"injected"}');
  }

  function summary() {
    const jobs = queue.all();
    return {
      submitted: jobs.length,
      waiting: queue.waitingCount(),
      unanswered: queue.unansweredCount(),
      outstanding: queue.outstanding().length,
      ...counts,
      /** Ids with more than one accepted result, and ids whose posts were not all byte-identical. */
      acceptedTwice: jobs.filter((job) => job.results.filter((post) => post.accepted).length > 1).map((job) => job.id),
      differing: jobs.filter((job) => new Set(job.results.map((post) => post.sha256)).size > 1).map((job) => job.id),
    };
  }

  return {
    url: base,
    requests,
    /** Sentences about every rule of the protocol that the worker broke; empty is good. */
    violations,
    summary,
    jobs: (): JobRecord[] => queue.all(),
    job: (id: string): JobRecord | undefined => queue.get(id),
    /** Every terminal post for a job, repeats and refused ones included, in order. */
    results: (id: string): PostRecord[] => queue.get(id)?.results ?? [],
    outstanding: (): Outstanding[] => queue.outstanding(),
    /** Requests to one endpoint, in order of arrival. */
    calls: (endpoint: Endpoint): RequestRecord[] => requests.filter((request) => request.endpoint === endpoint),
    /** The environment a worker on this platform would see. */
    env(): Record<string, string> {
      if (options.simulator) {
        return {
          RUNPOD_WEBHOOK_GET_JOB: `${base}/job-take/$ID`,
          RUNPOD_WEBHOOK_POST_OUTPUT: `${base}/job-done/$RUNPOD_POD_ID`,
          RUNPOD_WEBHOOK_PING: `${base}/ping/$RUNPOD_POD_ID`,
          RUNPOD_AI_API_KEY: apiKey,
          RUNPOD_POD_ID: podId,
          RUNPOD_PING_INTERVAL: String(options.pingIntervalMs ?? 10_000),
        };
      }
      const query = options.gpuTypeId === undefined ? "gpu=LOCAL+GPU" : "gpu=$RUNPOD_GPU_TYPE_ID";
      return {
        RUNPOD_WEBHOOK_GET_JOB: `${base}/job-take/$ID?${query}`,
        RUNPOD_WEBHOOK_POST_OUTPUT: `${base}/job-done/$RUNPOD_POD_ID/$ID?${query}`,
        RUNPOD_WEBHOOK_POST_STREAM: `${base}/job-stream/$RUNPOD_POD_ID/$ID?${query}`,
        RUNPOD_WEBHOOK_PING: `${base}/ping/$RUNPOD_POD_ID?${query}`,
        RUNPOD_AI_API_KEY: apiKey,
        RUNPOD_POD_ID: podId,
        RUNPOD_ENDPOINT_ID: endpointId,
        RUNPOD_PING_INTERVAL: String(options.pingIntervalMs ?? 10_000),
        ...(options.gpuTypeId === undefined ? {} : { RUNPOD_GPU_TYPE_ID: options.gpuTypeId }),
      };
    },
    /** Queues jobs and answers held takes; an id submitted before is handed out again. */
    submit(...jobs: PlatformJob[]): void {
      for (const job of jobs) queue.submit(job);
      wakePolls();
    },
    /** The next take is answered with this text, whatever it is. */
    answerNextTake(text: string): void {
      raw.push(text);
      wakePolls();
    },
    /** The next stop poll is answered with this text. */
    answerNextStop(text: string): void {
      rawStops.push(text);
      wakePolls();
    },
    /** Asks the worker to stop a job through its stop poll; a job still queued is simply forgotten. */
    stopJob(id: string): void {
      const handedOut = (queue.get(id)?.handouts.length ?? 0) > 0;
      queue.stop(id, handedOut ? "asked" : "forgotten");
      if (handedOut) stops.push(id);
      wakePolls();
    },
    setHold: (ms: number): void => void (holdMs = ms),
    /** See `Fault`; a refused post is recorded but not accepted. */
    fail: (endpoint: Endpoint, fault: Fault, frequency?: Frequency): FaultRule => faults.fail(endpoint, fault, frequency),
    /** Posts to the endpoint are read but not answered until `release`: results stay in flight for as long as a test needs. */
    holdAnswers(endpoint: "job-done" | "job-stream") {
      const { promise, resolve } = Promise.withResolvers<void>();
      const gate = { open: promise, waiting: 0 };
      gates.set(endpoint, gate);
      return {
        untilHeld: (count: number, wait: Wait = {}) =>
          facts.until(`${count} posts to ${endpoint} held`, () => (gate.waiting >= count ? gate.waiting : undefined), wait),
        release(): void {
          gates.delete(endpoint);
          resolve();
        },
      };
    },
    /** Any fact about this platform; asked again after each change. */
    waitFor: facts.until,
    /** The first accepted result of a job. */
    waitForResult: (id: string, wait: Wait = {}) => facts.until(`a result for ${id}`, () => queue.get(id)?.results.find((post) => post.accepted), wait),
    /** Every submitted job has an accepted result, or its stop was delivered. */
    waitForAll: (wait: Wait = {}) => facts.until("a result for every job", () => (queue.unansweredCount() === 0 ? summary() : undefined), wait),
    /** A job in the worker's hands, seen by the platform. */
    waitForHandout: (id: string, wait: Wait = {}) => facts.until(`${id} handed out`, () => queue.get(id)?.handouts[0], wait),
    /** A take that is being held now: the worker is idle and asks. */
    waitForHeldTake: (wait: Wait = {}) => facts.until("a held take", () => [...held].find((poll) => poll.record.endpoint.startsWith("job-take"))?.record, wait),
    /** A ping from now on (or ever, with `past`) that satisfies the predicate. */
    waitForPing(matches: (query: URLSearchParams) => boolean = () => true, wait: Wait & { past?: boolean } = {}) {
      const from = wait.past ? 0 : requests.length;
      const look = () => requests.find((seen) => seen.seq >= from && seen.endpoint === "ping" && matches(seen.query));
      return facts.until("a matching ping", look, wait);
    },
    close,
    [Symbol.asyncDispose]: close,
  };

  async function close(): Promise<void> {
    for (const poll of held) clearTimeout(poll.timer);
    held.clear();
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }
}
