import type { IncomingMessage } from "node:http";
import type { FettleEvent, StampedEvent } from "../events/event.ts";
import type { ServiceStatus, Snapshot, WorkerSettings } from "./protocol.ts";
import { type ControlRequest, openRequest, readText } from "./request.ts";

interface Cancel {
  readonly signal?: AbortSignal | undefined;
}

/** A running supervisor over its control socket. Each call rejects with `supervise.no-instance` when nobody answers. */
export interface ControlClient {
  snapshot(options?: Cancel): Promise<Snapshot>;
  /** Events after number `since`, then each new one. Ends when the supervisor does or the signal aborts; coming back is the caller's matter. */
  events(since: number, options?: Cancel): AsyncGenerator<StampedEvent, void>;
  workerSettings(options?: Cancel): Promise<WorkerSettings>;
  /** What the worker saw; the supervisor numbers it anew. */
  report(events: readonly FettleEvent[], options?: Cancel): Promise<void>;
  /** Asks the supervisor to stop everything and to end with this code. */
  end(wish: { readonly exitCode: number; readonly reason: string }, options?: Cancel): Promise<void>;
  restart(service: string, options?: Cancel): Promise<ServiceStatus>;
  stop(service: string, options?: Cancel): Promise<ServiceStatus>;
  /** The service's last lines (default 100), then with `follow` what comes. */
  logs(service: string, options?: Cancel & { readonly lines?: number; readonly follow?: boolean }): AsyncGenerator<Buffer, void>;
}

/** Does not connect yet; every call opens its own short connection. */
export function connectControl(socketPath: string): ControlClient {
  const open = (request: ControlRequest) => openRequest(socketPath, request);
  const ask = async <T>(request: ControlRequest): Promise<T> => JSON.parse(await readText(await open(request))) as T;
  const service = (name: string, action: string) => `/services/${encodeURIComponent(name)}/${action}`;
  return {
    snapshot: ({ signal } = {}) => ask<Snapshot>({ method: "GET", path: "/snapshot", signal }),
    workerSettings: ({ signal } = {}) => ask<WorkerSettings>({ method: "GET", path: "/worker", signal }),
    async report(events, { signal } = {}) {
      await ask({ method: "POST", path: "/report", body: { events }, signal });
    },
    async end(wish, { signal } = {}) {
      await ask({ method: "POST", path: "/end", body: wish, signal });
    },
    restart: (name, { signal } = {}) => ask<ServiceStatus>({ method: "POST", path: service(name, "restart"), signal }),
    stop: (name, { signal } = {}) => ask<ServiceStatus>({ method: "POST", path: service(name, "stop"), signal }),
    async *events(since, { signal } = {}) {
      const response = await open({ method: "GET", path: `/events?since=${since}`, signal });
      for await (const line of linesOf(untilCut(response))) yield JSON.parse(line) as StampedEvent;
    },
    async *logs(name, { signal, lines = 100, follow = false } = {}) {
      const response = await open({ method: "GET", path: `${service(name, "logs")}?lines=${lines}${follow ? "&follow=1" : ""}`, signal });
      yield* untilCut(response);
    },
  };
}

/** A stream that breaks off, by an abort or the supervisor's end, has ended. */
async function* untilCut(response: IncomingMessage): AsyncGenerator<Buffer, void> {
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) yield chunk;
  } catch {
    // The other side is gone, or the caller does not want any more.
  } finally {
    response.destroy();
  }
}

/** Whole lines only; a line that was cut off in the middle is dropped. */
async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<string, void> {
  let held: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    for (let end = held.indexOf(0x0a); end >= 0; end = held.indexOf(0x0a)) {
      yield held.subarray(0, end).toString("utf8");
      held = held.subarray(end + 1);
    }
  }
}
