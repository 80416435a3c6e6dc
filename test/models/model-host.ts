import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ModelSettings } from "../../src/models/settings.ts";

/** What a host does with a request; the file's bytes are its default. */
export type Behaviour = (request: IncomingMessage, response: ServerResponse, host: ModelHost) => void;

export interface SeenRequest {
  readonly host: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

export interface ModelHost extends AsyncDisposable {
  readonly port: number;
  /** Every request, in order. */
  readonly requests: SeenRequest[];
  url(path: string, name?: string): string;
  serve(path: string, what: Buffer | Behaviour): void;
}

/** A server of models over a real socket; 127.0.0.1, 127.0.0.2 and localhost reach it under different names. */
export async function startModelHost(): Promise<ModelHost> {
  const routes = new Map<string, Behaviour>();
  const requests: SeenRequest[] = [];
  const server = createServer((request, response) => {
    const path = (request.url ?? "").replace(/\?.*$/, "");
    requests.push({
      host: (request.headers.host ?? "").replace(/:\d+$/, ""),
      path,
      range: request.headers.range,
      authorization: request.headers.authorization,
    });
    const route = routes.get(path);
    if (route) route(request, response, host);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => void server.listen(0, "0.0.0.0", resolve));
  const { port } = server.address() as AddressInfo;
  const host: ModelHost = {
    port,
    requests,
    url: (path, name = "127.0.0.1") => `http://${name}:${port}${path}`,
    serve: (path, what) => void routes.set(path, Buffer.isBuffer(what) ? sendRanges(what) : what),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
  return host;
}

export const hashOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

export interface RangeOptions {
  readonly etag?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** The connection dies after so many bytes of the body. */
  readonly dropAfter?: () => number | undefined;
}

/** As a good file server: parts, If-Range, a strong ETag. */
export function sendRanges(bytes: Buffer, { etag = `"${hashOf(bytes).slice(0, 16)}"`, headers = {}, dropAfter }: RangeOptions = {}): Behaviour {
  return (request, response) => {
    const ifRange = request.headers["if-range"];
    const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const whole = !match || (ifRange !== undefined && ifRange !== etag);
    const start = whole ? 0 : Number(match[1]);
    const end = whole || match[2] === "" ? bytes.length : Math.min(bytes.length, Number(match[2]) + 1);
    if (!whole && start >= bytes.length) return void response.writeHead(416).end();
    const range = whole ? {} : { "content-range": `bytes ${start}-${end - 1}/${bytes.length}` };
    response.writeHead(whole ? 200 : 206, { "content-length": end - start, "accept-ranges": "bytes", etag, ...range, ...headers });
    const body = bytes.subarray(start, end);
    const drop = dropAfter?.();
    if (drop === undefined || drop >= body.length) return void response.end(body);
    response.write(body.subarray(0, drop), () => response.destroy());
  };
}

export const redirectTo =
  (location: string, headers: Readonly<Record<string, string>> = {}): Behaviour =>
  (_request, response) =>
    void response.writeHead(302, { location, ...headers }).end();

/** A safetensors file of `sizeBytes` of data, the same for the same seed. */
export function makeSafetensors(sizeBytes: number, seed = 1): Buffer {
  const header = Buffer.from(JSON.stringify({ weight: { dtype: "U8", shape: [sizeBytes], data_offsets: [0, sizeBytes] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const data = Buffer.alloc(sizeBytes);
  for (let at = 0, state = seed >>> 0; at < sizeBytes; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    data[at] = state >>> 24;
  }
  return Buffer.concat([length, header, data]);
}

export interface TestSettings extends Disposable {
  readonly settings: ModelSettings;
  with(more: Partial<ModelSettings>): ModelSettings;
}

/** Settings with a cache of their own, small parts and quick retries. */
export function testSettings(host: ModelHost): TestSettings {
  const cacheDir = mkdtempSync(join(tmpdir(), "fettle-models-"));
  const settings: ModelSettings = {
    cacheDir,
    huggingface: { url: host.url(""), token: undefined },
    civitai: { url: host.url(""), token: undefined },
    stallMs: 5000,
    connections: 4,
    tries: 4,
    firstRetryMs: 1,
    smallestPartBytes: 50_000,
    offline: false,
  };
  return { settings, with: (more) => ({ ...settings, ...more }), [Symbol.dispose]: () => rmSync(cacheDir, { recursive: true, force: true }) };
}
