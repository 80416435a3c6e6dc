/** A local S3 server (moto's, with every signature checked by botocore) and a proxy before it that can be told to fail. */
import { spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type BucketConfig, usualBucket } from "../../src/results/s3/bucket.ts";

export const s3Python = process.env["FETTLE_TEST_PYTHON"];
export const s3Skip = s3Python ? false : "FETTLE_TEST_PYTHON names no Python with moto in it: no S3 server was tried";

export const s3Keys = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
const program = fileURLToPath(new URL("s3_server.py", import.meta.url));

/** What becomes of one request at the proxy: passed on, answered with a status, or its connection dropped after so many bytes of its body. */
export type Fate =
  | "pass"
  /** The answer comes before the body was read, and the connection ends. */
  | { readonly early: number; readonly body: string }
  | { readonly status: number; readonly body?: string; readonly headers?: Record<string, string> }
  | { readonly dropAfter: number };

export async function startS3({ bucket = "pics", region = "us-east-1" }: { bucket?: string; region?: string } = {}) {
  const child = spawn(s3Python ?? "python3", [program, s3Keys.accessKeyId, s3Keys.secretAccessKey, region, bucket], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const [port] = (await once(lines, "line", { signal: AbortSignal.timeout(60_000) })) as [string];
  const exited = once(child, "exit");
  const stop = async () => {
    child.stdin.end();
    await exited;
  };
  const proxy = await startProxy(Number(port));
  return {
    bucket,
    /** Through the proxy. */
    endpoint: proxy.url,
    requests: proxy.requests,
    untilRequests: proxy.untilRequests,
    /** The fates of the next requests, in order; then all pass. */
    fates: proxy.fates,
    stop,
    config: (more: Partial<BucketConfig> = {}): BucketConfig => ({
      ...usualBucket,
      ...s3Keys,
      endpoint: proxy.url,
      bucket,
      region,
      key: "{job}/{index}.{ext}",
      isForeign: false,
      ...more,
    }),
    async [Symbol.asyncDispose]() {
      await proxy.close();
      await stop();
    },
  };
}

async function startProxy(port: number) {
  const fates: Fate[] = [];
  const requests: { readonly method: string; readonly url: string; readonly headers: IncomingMessage["headers"] }[] = [];
  const arrivals = new EventEmitter();
  const server = createServer((asked, answer) => {
    requests.push({ method: asked.method ?? "", url: asked.url ?? "", headers: asked.headers });
    arrivals.emit("request");
    const fate = fates.shift() ?? "pass";
    if (fate === "pass") pass(port, asked, answer);
    else if ("early" in fate) {
      answer.writeHead(fate.early, { connection: "close" }).end(fate.body, () => asked.socket.destroySoon());
    } else if ("status" in fate) {
      asked.resume();
      asked.once("end", () => answer.writeHead(fate.status, fate.headers).end(fate.body ?? ""));
    } else {
      let seen = 0;
      asked.on("data", (chunk: Buffer) => {
        seen += chunk.length;
        if (seen >= fate.dropAfter) asked.socket.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    fates,
    requests,
    async untilRequests(count: number) {
      while (requests.length < count) await once(arrivals, "request", { signal: AbortSignal.timeout(20_000) });
    },
    async close() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function pass(port: number, asked: IncomingMessage, answer: ServerResponse): void {
  const { method, url, headers } = asked;
  const onward = request({ host: "127.0.0.1", port, method, path: url, headers, agent: false }, (answered) => {
    answer.writeHead(answered.statusCode ?? 502, answered.headers);
    answered.pipe(answer);
  });
  onward.on("error", () => answer.destroy());
  asked.pipe(onward);
}
