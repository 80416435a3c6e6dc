import { chmodSync } from "node:fs";
import { bunApi } from "../util/bun.ts";

export type Answer = (request: Request) => Response | Promise<Response>;

/** A unix socket for this user alone, or a TCP port (0 lets the system choose). */
export type Listen = { readonly socketPath: string } | { readonly host: string; readonly port: number };

export interface Served {
  /** Ends what is still open, so that readers of a stream learn at once. */
  close(): Promise<void>;
}

/** Answers HTTP with web Requests and Responses. Rejects with the system's error when it cannot listen. */
export async function serve(answer: Answer, listen: Listen): Promise<Served> {
  const former = "socketPath" in listen ? process.umask(0o177) : undefined;
  try {
    return await (bunApi() ? serveOnBun(answer, listen) : serveOnNode(answer, listen));
  } finally {
    if (former !== undefined) process.umask(former);
    if ("socketPath" in listen) chmodQuietly(listen.socketPath);
  }
}

async function serveOnBun(answer: Answer, listen: Listen): Promise<Served> {
  const where = "socketPath" in listen ? { unix: listen.socketPath } : { hostname: listen.host, port: listen.port };
  // In development, its default, Bun draws the stack of a reader that was cut off into the container's log.
  const server = bunApi()?.serve({ ...where, idleTimeout: 0, development: false, fetch: answer });
  return { close: async () => void (await server?.stop(true)) };
}

async function serveOnNode(answer: Answer, listen: Listen): Promise<Served> {
  const { createAdaptorServer } = await import("@hono/node-server");
  const server = createAdaptorServer({ fetch: answer, overrideGlobalObjects: false, serverOptions: { keepAliveTimeout: 0, requestTimeout: 0 } });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    const onListening = () => {
      server.off("error", reject);
      resolve();
    };
    if ("socketPath" in listen) server.listen(listen.socketPath, onListening);
    else server.listen(listen.port, listen.host, onListening);
  });
  return {
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        if ("closeAllConnections" in server) server.closeAllConnections();
      }),
  };
}

function chmodQuietly(path: string): void {
  try {
    chmodSync(path, 0o600);
  } catch {
    // Nobody could listen; that error is the one to tell.
  }
}
