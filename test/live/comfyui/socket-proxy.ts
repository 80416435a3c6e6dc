/** Stands before a real server and spoils its WebSocket; everything else goes through. */
import { createConnection, createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";

/** `silent`: the socket opens and nothing comes over it. `refuse`: it does not open. */
export type Mode = "good" | "silent" | "refuse";

export async function startSocketProxy(url: string) {
  const { hostname, port } = new URL(url);
  const all = new Set<Socket>();
  const sockets = new Set<Socket>();
  let mode: Mode = "good";
  const server = createServer((client) => {
    const upstream = createConnection(Number(port), hostname);
    for (const one of [client, upstream]) {
      all.add(one);
      one.on("error", () => {}).on("close", () => (all.delete(one), client.destroy(), upstream.destroy()));
    }
    let isSocket = false;
    client.on("data", (chunk: Buffer) => {
      if (!isSocket && /^GET \S*\/ws\b/.test(chunk.toString("latin1"))) {
        isSocket = true;
        sockets.add(client.on("close", () => sockets.delete(client)));
        if (mode === "refuse") return void client.destroy();
      }
      upstream.write(chunk);
    });
    let isOpen = false;
    upstream.on("data", (chunk: Buffer) => {
      if (!isSocket || mode !== "silent") return void client.write(chunk);
      // The handshake's answer, and not one frame.
      const end = chunk.indexOf("\r\n\r\n");
      if (!isOpen && end !== -1) client.write(chunk.subarray(0, end + 4));
      isOpen = true;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** For sockets from now on; those that are open go on as they would in this mode. */
    set: (next: Mode) => void (mode = next),
    /** How many sockets are open. */
    get open() {
      return sockets.size;
    },
    /** Cuts them off without a goodbye. */
    drop() {
      for (const socket of sockets) socket.destroy();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of all) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
