import type { AddressInfo } from "node:net";
import type { Server } from "node:http";
import { serve } from "@hono/node-server";
import type { Hono } from "hono";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";

export interface ListenOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
}

/** Callers in the middle of an answer get so long when the server closes. */
const closeGraceMs = 500;

/** Listens and says where. `close` stops accepting at once and lets running answers end. */
export async function listen(app: Hono, { host, port }: ListenOptions): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server = await new Promise<Server>((resolve, reject) => {
    const serverOptions = { requestTimeout: 0, keepAliveTimeout: 30_000 };
    // It would put its own Request and Response in place of the runtime's, for everyone in this process.
    const created = serve({ fetch: app.fetch, hostname: host, port, serverOptions, overrideGlobalObjects: false }, () => resolve(created)) as Server;
    created.once("error", (error) => {
      reject(new FettleError("source.cannot-listen", `Cannot listen on ${host}:${port}: ${reasonOf(error)}.`, { cause: error }));
    });
  });
  const address = server.address() as AddressInfo;
  const name = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return { url: `http://${name}:${address.port}`, close: () => close(server) };
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
  server.closeIdleConnections();
  const limit = setTimeout(() => server.closeAllConnections(), closeGraceMs);
  await closed;
  clearTimeout(limit);
}
