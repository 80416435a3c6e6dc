/** A receiver of webhooks on a real socket: it answers as the test says and remembers what came. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createFacts } from "../../doubles/facts.ts";
import { limit } from "../worker-rig.ts";

export interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export async function startReceiver(answer: (response: ServerResponse, received: Received, number: number) => void = (response) => void response.end("ok")) {
  const received: Received[] = [];
  const facts = createFacts(() => `${received.length} came`);
  const counts = { now: 0, most: 0 };
  const server = createServer((request, response) => {
    counts.now += 1;
    counts.most = Math.max(counts.most, counts.now);
    response.once("close", () => (counts.now -= 1));
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const one = { path: request.url ?? "", headers: request.headers, text: Buffer.concat(chunks).toString("utf8") };
      received.push(one);
      facts.changed();
      answer(response, one, received.length);
    });
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    counts,
    untilReceived: (count: number) => facts.until(`${count} webhooks`, () => (received.length >= count ? received : undefined), limit()),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => void server.close(resolve));
    },
  };
}
