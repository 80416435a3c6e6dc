import type { ServiceStatus, Snapshot, WorkerSettings } from "../control/protocol.ts";
import { FettleError } from "../errors/fettle-error.ts";
import type { EventBus } from "../events/bus.ts";
import type { FettleEvent, StampedEvent } from "../events/event.ts";
import { byteStream, errorAnswer, jsonAnswer, readBody } from "./http-answer.ts";
import { readTail } from "./log-tail.ts";
import type { Output } from "./output.ts";
import type { Answer } from "./serve.ts";

/** What the control socket can ask of the supervisor. */
export interface Controlled {
  readonly bus: EventBus;
  workerSettings(): WorkerSettings | undefined;
  snapshot(): Snapshot;
  /** Stops everything and ends with this code. */
  end(wish: { readonly exitCode: number; readonly reason: string }): void;
  outputOf(name: string): { readonly output: Output; readonly path: string } | undefined;
  /** Undefined when there is no such service. Rejects with 409's error while everything stops. */
  act(name: string, action: "restart" | "stop"): Promise<ServiceStatus> | undefined;
}

/** A reader that falls so far behind is cut off; it comes back with its last number. */
const maxUnreadBytes = 8 << 20;
const maxReportBytes = 4 << 20;
/** Only what a worker may say; it cannot speak for services. */
const reportable = /^(worker|job|source|webhook)\./;

/** Answers what `control.sock` is asked; the routes are described in control/protocol.ts. */
export function createControl(controlled: Controlled): Answer {
  return (request) => answer(controlled, request).catch((error: unknown) => errorAnswer(statusOf(error), error));
}

async function answer(controlled: Controlled, request: Request): Promise<Response> {
  const url = new URL(request.url);
  const [, first, name, action] = url.pathname.split("/");
  const route = `${request.method} /${first ?? ""}`;
  if (route === "GET /snapshot") return jsonAnswer(200, controlled.snapshot());
  if (route === "GET /events") return streamEvents(controlled.bus, Number(url.searchParams.get("since") ?? 0));
  const settings = controlled.workerSettings();
  if (route === "GET /worker" && settings) return jsonAnswer(200, settings);
  if (route === "POST /report") return takeReport(controlled.bus, await readBody(request, maxReportBytes));
  if (route === "POST /end") return takeEnd(controlled, await readBody(request, maxReportBytes));
  if (first === "services" && name !== undefined && action !== undefined)
    return await answerService(controlled, request.method, url, { name: decodeURIComponent(name), action });
  throw new FettleError("cli.bad-value", `Cannot answer ${request.method} ${url.pathname}: there is no such route.`);
}

async function answerService(controlled: Controlled, method: string, url: URL, { name, action }: { name: string; action: string }): Promise<Response> {
  const log = controlled.outputOf(name);
  if (!log) throw new FettleError("supervise.unknown-service", `Cannot ${action} ${name}: there is no such service.`);
  if (method === "GET" && action === "logs")
    return await sendLogs(log, { lines: Number(url.searchParams.get("lines") ?? 100), follow: url.searchParams.get("follow") === "1" });
  if (method === "POST" && (action === "restart" || action === "stop")) return jsonAnswer(200, await controlled.act(name, action));
  throw new FettleError("cli.bad-value", `Cannot answer ${method} ${url.pathname}: there is no such route.`);
}

function statusOf(error: unknown): number {
  if (!(error instanceof FettleError)) return 500;
  if (error.code === "supervise.unknown-service") return 404;
  return error.code === "supervise.stopping" ? 409 : 400;
}

function streamEvents(bus: EventBus, since: number): Response {
  const body = byteStream(maxUnreadBytes, (send) => {
    const sendEvent = (event: StampedEvent) => send(Buffer.from(`${JSON.stringify(event)}\n`));
    for (const event of bus.since(Number.isFinite(since) ? since : 0)) sendEvent(event);
    return bus.observe(sendEvent);
  });
  return new Response(body, { headers: { "content-type": "application/x-ndjson" } });
}

function takeReport(bus: EventBus, body: string): Response {
  const bad = (reason: string) => new FettleError("cli.bad-value", `Cannot take the report: ${reason}.`);
  let events: unknown;
  try {
    events = (JSON.parse(body) as { events?: unknown } | null)?.events;
  } catch {
    throw bad("it is not JSON");
  }
  if (!Array.isArray(events)) throw bad("it has no list of events");
  const list = events as readonly { readonly type?: unknown }[];
  const strange = list.find((event) => typeof event?.type !== "string" || !reportable.test(event.type));
  if (strange !== undefined) throw bad(`a worker cannot report "${String(strange?.type)}"`);
  for (const event of list) bus.emit(event as FettleEvent);
  return jsonAnswer(200, { seq: bus.seq });
}

function parseWish(body: string): { readonly exitCode?: unknown; readonly reason?: unknown } {
  try {
    return (JSON.parse(body) as { exitCode?: unknown; reason?: unknown } | null) ?? {};
  } catch {
    return {};
  }
}

function takeEnd(controlled: Controlled, body: string): Response {
  const { exitCode, reason } = parseWish(body);
  if (typeof exitCode !== "number" || !Number.isInteger(exitCode) || exitCode < 0 || exitCode > 255 || typeof reason !== "string")
    throw new FettleError("cli.bad-value", "Cannot end: exitCode (0 to 255) and reason are needed.");
  controlled.end({ exitCode, reason });
  return jsonAnswer(200, {});
}

async function sendLogs({ output, path }: { output: Output; path: string }, { lines, follow }: { lines: number; follow: boolean }): Promise<Response> {
  while (!output.isFlushed) await output.flush();
  // Nothing waits for the disk now, and until the next await nothing comes: the file's size and the follower meet exactly.
  const tail = readTail(path, Number.isInteger(lines) && lines >= 0 ? lines : 100);
  const headers = { "content-type": "text/plain; charset=utf-8" };
  if (!follow) return new Response(new Uint8Array(await tail), { headers });
  const body = byteStream(maxUnreadBytes, (send) => {
    let held: Buffer[] | undefined = [];
    void tail.then((bytes) => {
      for (const block of [bytes, ...(held ?? [])]) send(block);
      held = undefined;
    });
    return output.follow((block) => (held ? void held.push(block) : send(block)));
  });
  return new Response(body, { headers });
}
