/** A purpose-made HTTP server on a free port of this process, for answers that no honest engine gives. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { createFacts } from "./facts.ts";

export interface Seen {
  readonly method: string;
  /** Path with query. */
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

export type Answer = (request: Seen, response: ServerResponse) => void;

export type TinyServer = Awaited<ReturnType<typeof startTinyServer>>;

/** Each request is read whole, noted in `seen`, and given to `answer`. */
export async function startTinyServer(answer: Answer) {
  const seen: Seen[] = [];
  const facts = createFacts(() => seen.map(({ method, path }) => `${method} ${path}`).join(", "));
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("error", () => {});
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const one = { method: request.method ?? "", path: request.url ?? "", headers: request.headers, body: Buffer.concat(chunks).toString("utf8") };
      seen.push(one);
      answer(one, response);
      facts.changed();
    });
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    /** How often a path was asked for, query left out. */
    count: (path: string) => seen.filter((one) => one.path.split("?")[0] === path).length,
    /** Resolves when this many requests for the path have come. */
    asked: (path: string, times = 1) =>
      facts.until(`${times} requests for ${path}`, () => (seen.filter((one) => one.path.split("?")[0] === path).length >= times ? true : undefined)),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}
