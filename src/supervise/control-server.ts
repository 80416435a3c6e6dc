import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { ServiceStatus, Snapshot, WorkerSettings } from "../control/protocol.ts";
import { FettleError } from "../errors/fettle-error.ts";
import type { EventBus } from "../events/bus.ts";
import type { FettleEvent, StampedEvent } from "../events/event.ts";
import { readBody, sendError, sendJson } from "./http-answer.ts";
import { readTail } from "./log-tail.ts";
import type { Output } from "./output.ts";

/** What the control socket can ask of the supervisor. */
export interface Controlled {
  readonly bus: EventBus;
  readonly workerSettings: WorkerSettings | undefined;
  snapshot(): Snapshot;
  outputOf(name: string): { readonly output: Output; readonly path: string } | undefined;
  /** Undefined when there is no such service. Rejects with 409's error while everything stops. */
  act(name: string, action: "restart" | "stop"): Promise<ServiceStatus> | undefined;
}

/** A reader that falls so far behind is cut off; it comes back with its last number. */
const maxUnreadBytes = 8 << 20;
const maxReportBytes = 4 << 20;
/** Only what a worker may say; it cannot speak for services. */
const reportable = /^(worker|job|source)\./;

/** The server behind `control.sock`; the routes are described in control/protocol.ts. It does not listen yet. */
export function createControlServer(controlled: Controlled): Server {
  const server = createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
    answer(controlled, request, response).catch((error: unknown) => sendError(response, statusOf(error), error));
  });
  return server;
}

async function answer(controlled: Controlled, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "/", "http://fettle");
  const [, first, name, action] = url.pathname.split("/");
  const route = `${request.method} /${first ?? ""}`;
  if (route === "GET /snapshot") return sendJson(response, 200, controlled.snapshot());
  if (route === "GET /events") return streamEvents(controlled.bus, Number(url.searchParams.get("since") ?? 0), response);
  if (route === "GET /worker" && controlled.workerSettings) return sendJson(response, 200, controlled.workerSettings);
  if (route === "POST /report") return takeReport(controlled.bus, await readBody(request, maxReportBytes), response);
  if (first === "services" && name !== undefined && action !== undefined)
    return await answerService(controlled, request, url, { name: decodeURIComponent(name), action }, response);
  throw new FettleError("cli.bad-value", `Cannot answer ${request.method} ${url.pathname}: there is no such route.`);
}

async function answerService(
  controlled: Controlled,
  request: IncomingMessage,
  url: URL,
  { name, action }: { name: string; action: string },
  response: ServerResponse,
): Promise<void> {
  const log = controlled.outputOf(name);
  if (!log) throw new FettleError("supervise.unknown-service", `Cannot ${action} ${name}: there is no such service.`);
  if (request.method === "GET" && action === "logs") {
    return await sendLogs(log, { lines: Number(url.searchParams.get("lines") ?? 100), follow: url.searchParams.get("follow") === "1" }, response);
  }
  if (request.method === "POST" && (action === "restart" || action === "stop")) {
    return sendJson(response, 200, await controlled.act(name, action));
  }
  throw new FettleError("cli.bad-value", `Cannot answer ${request.method} ${url.pathname}: there is no such route.`);
}

function statusOf(error: unknown): number {
  if (!(error instanceof FettleError)) return 500;
  if (error.code === "supervise.unknown-service") return 404;
  return error.code === "supervise.stopping" ? 409 : 400;
}

function streamEvents(bus: EventBus, since: number, response: ServerResponse): void {
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  response.flushHeaders();
  const send = (event: StampedEvent) => {
    response.write(`${JSON.stringify(event)}\n`);
    if (response.writableLength > maxUnreadBytes) response.destroy();
  };
  for (const event of bus.since(Number.isFinite(since) ? since : 0)) send(event);
  response.once("close", bus.observe(send));
}

function takeReport(bus: EventBus, body: string, response: ServerResponse): void {
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
  sendJson(response, 200, { seq: bus.seq });
}

async function sendLogs(
  { output, path }: { output: Output; path: string },
  { lines, follow }: { lines: number; follow: boolean },
  response: ServerResponse,
): Promise<void> {
  const held: Buffer[] = [];
  let pass = (block: Buffer): void => void held.push(block);
  await output.flush();
  // Nothing waits for the disk now, and until the next await nothing comes: the file's size and the follower meet exactly.
  const tail = readTail(path, Number.isInteger(lines) && lines >= 0 ? lines : 100);
  const end = follow ? output.follow((block) => pass(block)) : undefined;
  if (end) response.once("close", end);
  response.writeHead(200, { "content-type": "text/plain; charset=utf-8" });
  response.write(await tail);
  if (!follow) return void response.end();
  response.flushHeaders();
  pass = (block) => {
    response.write(block);
    if (response.writableLength > maxUnreadBytes) response.destroy();
  };
  for (const block of held) pass(block);
}
