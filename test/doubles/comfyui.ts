/**
 * A double of ComfyUI's server for tests without Python: its HTTP routes and its WebSocket as recorded from 0.3.64 and 0.33, in the
 * recorded order of events, and the faults that a test turns on. It is not ComfyUI: scripts/live runs the same suites on the real one.
 */
import { Buffer } from "node:buffer";
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { createFacts } from "./facts.ts";
import { describeNode, nodeSpecs, type Version } from "./comfyui/nodes.ts";
import { type Prompt, validate } from "./comfyui/validate.ts";
import { acceptSocket, type ServerSocket } from "./comfyui/web-socket.ts";
import { keyOf, Worker } from "./comfyui/worker.ts";

export interface Faults {
  /** `silent`: accepts sockets and never says a word. `refuse`: accepts none. */
  socket: "good" | "silent" | "refuse";
  /** These frames are not sent. */
  drops: (type: string) => boolean;
  /** Answers of these paths, without query; undefined as usual. */
  status: (path: string, method: string) => number | undefined;
  /** Requests to these paths are never answered: Python holds everything up. */
  hangs: (path: string, method: string) => boolean;
  /** So many times the history of an ended prompt is not there yet. */
  lateHistory: number;
}

export interface DoubleOptions {
  readonly version?: Version;
  readonly checkpoints?: readonly string[];
  /** More node classes than a test wants to know, to make /object_info large. */
  readonly moreClasses?: number;
  /** As stakeordie's fork: ids of its own for prompts and clients, and prompts over the socket. */
  readonly fork?: boolean;
}

export type ComfyDouble = Awaited<ReturnType<typeof startComfyDouble>>;

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export async function startComfyDouble({ version = "0.3.64", checkpoints = ["tiny.safetensors"], moreClasses = 0, fork = false }: DoubleOptions = {}) {
  const seen: string[] = [];
  const uploads = new Map<string, Buffer>();
  const prompts: { readonly id: string; readonly prompt: Prompt; readonly extra: Readonly<Record<string, unknown>> }[] = [];
  const clients = new Map<string, ServerSocket>();
  const connections = new Set<Socket>();
  const faults: Faults = { socket: "good", drops: () => false, status: () => undefined, hangs: () => false, lateHistory: 0 };
  const facts = createFacts(() => seen.join("\n"));
  const specs = () => nodeSpecs(checkpoints, ["example.png", ...uploads.keys()]);
  const to = (clientId: string | undefined) => (clientId === undefined ? [...clients.values()] : [clients.get(clientId)]);
  const worker = new Worker({
    facts,
    tell(clientId, type, data) {
      if (faults.socket === "silent" || faults.drops(type)) return;
      for (const client of to(clientId)) client?.send(JSON.stringify({ type, data }));
    },
    picture(clientId, bytes, { promptId, node, isWhole }) {
      if (faults.socket === "silent" || faults.drops("picture")) return;
      for (const client of to(clientId))
        client?.send(client.first?.includes("supports_preview_metadata") ? withMetadata(bytes, promptId, node, isWhole) : plain(bytes, isWhole));
    },
  });
  let count = 0;

  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("error", () => {}).on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const url = new URL(request.url ?? "/", "http://double");
      const path = url.pathname;
      const method = request.method ?? "";
      seen.push(`${method} ${path}`);
      facts.changed();
      if (faults.hangs(path, method)) return;
      const status = faults.status(path, method);
      if (status !== undefined) return answer(response, status, "Server got itself in trouble");
      const body = Buffer.concat(chunks);
      if (request.headers.origin !== undefined) return answer(response, 403);
      if (method === "GET") get(path, url.searchParams, response);
      else if (path === "/upload/image") void upload(body, request, response);
      else post(path, readJson(body), response);
    });
  });
  server.on("connection", (socket: Socket) => void connections.add(socket.on("close", () => connections.delete(socket)).on("error", () => {})));
  server.on("upgrade", (request, stream) => {
    seen.push("WS /ws");
    facts.changed();
    if (faults.socket === "refuse") return void stream.destroy();
    const asked = new URL(request.url ?? "", "http://double").searchParams.get("clientId");
    const id = fork || asked === null ? randomUUID() : asked;
    clients.get(id)?.destroy();
    const client = acceptSocket(request, stream, (text) => {
      const message = readJson(Buffer.from(text));
      if (!fork || message?.["type"] !== "prompt") return;
      seen.push("WS prompt");
      const { prompt, extra_data: extra } = message["data"] as { prompt: Prompt; extra_data?: object };
      queue({ prompt, extra_data: extra, client_id: id }, (status, { prompt_id: promptId, number, error, node_errors: nodeErrors }) => {
        const isQueued = status === 200;
        const data = { ...(isQueued ? { prompt_id: promptId, number } : { error }), node_errors: nodeErrors };
        client.send(JSON.stringify({ type: isQueued ? "prompt_queued" : "error", data }));
      });
    });
    clients.set(id, client);
    if (fork) client.send(JSON.stringify({ type: "client_id", data: { client_id: id } }));
    if (faults.socket === "good")
      client.send(JSON.stringify({ type: "status", data: { status: { exec_info: { queue_remaining: worker.remaining } }, sid: id } }));
    facts.changed();
  });

  function get(path: string, query: URLSearchParams, response: ServerResponse): void {
    const [, route = "", name = ""] = path.split("/").map(decodeURIComponent);
    switch (route) {
      case "system_stats":
        return answer(response, 200, { system: { os: version === "0.3.64" ? "posix" : "linux", comfyui_version: version }, devices: [] });
      case "prompt":
        return answer(response, 200, { exec_info: { queue_remaining: worker.remaining } });
      case "queue": {
        const item = ({ number, id, prompt, extra, outputs }: (typeof worker.pending)[number]) => [number, id, prompt, extra, outputs];
        return answer(response, 200, { queue_running: worker.running ? [item(worker.running)] : [], queue_pending: worker.pending.map(item) });
      }
      case "history": {
        const entry = worker.history.get(name);
        if (entry && faults.lateHistory > 0) {
          faults.lateHistory -= 1;
          return answer(response, 200, {});
        }
        return answer(response, 200, entry ? { [name]: entry } : {});
      }
      case "object_info": {
        const all = Object.entries(specs());
        const more = name
          ? []
          : Array.from({ length: moreClasses }, (_, index) => [`Strange ${index} "\\`, all[0]?.[1] ?? { required: {}, outputs: [] }] as const);
        const wanted = [...all, ...more].filter(([one]) => !name || one === name);
        return answer(response, 200, Object.fromEntries(wanted.map(([one, spec]) => [one, describeNode(one, spec, version)])));
      }
      case "view": {
        const file = worker.files.get(keyOf(Object.fromEntries(query)));
        if (!file) return answer(response, 404);
        response.writeHead(200, { "content-type": file.mime, "content-length": file.sizeBytes });
        const chunks = file.bytes()[Symbol.iterator]();
        const pump = (): void => {
          for (let next = chunks.next(); !next.done; next = chunks.next()) if (!response.write(next.value)) return void response.once("drain", pump);
          response.end();
        };
        return pump();
      }
      default:
        return answer(response, 404);
    }
  }

  function post(path: string, body: Readonly<Record<string, unknown>> | undefined, response: ServerResponse): void {
    if (!body) return answer(response, 500, "500 Internal Server Error\n\nServer got itself in trouble");
    switch (path) {
      case "/prompt":
        return submit(body, response);
      case "/queue": {
        const ids = (body["delete"] ?? []) as string[];
        const kept = worker.pending.filter(({ id }) => !ids.includes(id));
        worker.pending.splice(0, worker.pending.length, ...kept);
        facts.changed();
        return answer(response, 200);
      }
      case "/interrupt":
        // Only if that one runs; without an id, whatever runs.
        if (body["prompt_id"] === undefined || worker.running?.id === body["prompt_id"]) worker.interrupt();
        return answer(response, 200);
      case "/free":
        worker.free();
        return answer(response, 200);
      default:
        return answer(response, 404);
    }
  }

  function submit(body: Readonly<Record<string, unknown>>, response: ServerResponse): void {
    queue(body, (status, told) => answer(response, status, told));
  }

  function queue(body: Readonly<Record<string, unknown>>, tell: (status: number, told: Readonly<Record<string, unknown>>) => void): void {
    const prompt = body["prompt"] as Prompt | undefined;
    if (!prompt) return refuse({ type: "no_prompt", message: "No prompt provided", details: "No prompt provided", extra_info: {} });
    const id = typeof body["prompt_id"] === "string" && !fork ? body["prompt_id"] : randomUUID();
    if (version === "0.33.0" && !uuid.test(id)) return refuse({ type: "invalid_prompt_id", message: "prompt_id must be a UUID", details: id, extra_info: {} });
    const found = validate(prompt, specs(), version);
    if (found.type === "bad") return refuse(found.error, found.nodeErrors);
    const extra = { ...(body["extra_data"] as object | undefined), ...(body["client_id"] !== undefined && { client_id: body["client_id"] }) };
    prompts.push({ id, prompt, extra });
    worker.enqueue({ number: ++count, id, prompt, extra, outputs: found.outputs });
    return tell(200, { prompt_id: id, number: count, node_errors: found.nodeErrors });

    function refuse(error: Readonly<Record<string, unknown>>, nodeErrors: Readonly<Record<string, unknown>> = {}): void {
      tell(400, { error, node_errors: nodeErrors });
    }
  }

  async function upload(body: Buffer, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const form = await new Response(new Uint8Array(body), { headers: { "content-type": request.headers["content-type"] ?? "" } }).formData();
    const image = form.get("image");
    if (!(image instanceof File)) return answer(response, 400);
    const subfolder = String(form.get("subfolder") ?? "");
    uploads.set(subfolder ? `${subfolder}/${image.name}` : image.name, Buffer.from(await image.arrayBuffer()));
    answer(response, 200, { name: image.name, subfolder, type: "input" });
  }

  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  await listen(0);
  const { port } = server.address() as AddressInfo;
  const dropSockets = () => {
    for (const client of clients.values()) client.destroy();
    clients.clear();
  };
  const crash = async () => {
    worker.restart();
    dropSockets();
    for (const socket of connections) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  return {
    url: `http://127.0.0.1:${port}`,
    faults,
    worker,
    /** Each accepted prompt as it was sent. */
    prompts,
    uploads,
    count: (request: string) => seen.filter((one) => one === request).length,
    /** Resolves when so many such requests have come (`WS /ws` for a socket). */
    asked: (request: string, times = 1) =>
      facts.until(`${times} times ${request}`, () => (seen.filter((one) => one === request).length >= times ? true : undefined), {
        signal: AbortSignal.timeout(30_000),
      }),
    until: (what: string, is: () => boolean) => facts.until(what, () => (is() ? true : undefined), { signal: AbortSignal.timeout(30_000) }),
    /** In mid-run, in a Hold node. */
    untilHolding: () => facts.until("a prompt in a Hold node", () => (worker.isHolding ? true : undefined), { signal: AbortSignal.timeout(30_000) }),
    dropSockets,
    /** Every connection that is no open socket goes, in the middle of whatever it does. */
    cutRequests() {
      for (const socket of connections) if (![...clients.values()].some((client) => client.is(socket))) socket.destroy();
    },
    crash,
    /** The process went and came again within a moment. */
    restart() {
      worker.restart();
      dropSockets();
    },
    async [Symbol.asyncDispose]() {
      if (server.listening) await crash();
    },
  };
}

function answer(response: ServerResponse, status: number, body?: unknown): void {
  const text = body === undefined ? "" : typeof body === "string" ? body : JSON.stringify(body);
  response.writeHead(status, { "content-type": typeof body === "string" ? "text/plain" : "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}

function readJson(body: Buffer): Record<string, unknown> | undefined {
  try {
    return JSON.parse(body.toString("utf8")) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

function plain(bytes: Uint8Array, isWhole: boolean): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(1, 0);
  head.writeUInt32BE(isWhole ? 2 : 1, 4);
  return Buffer.concat([head, bytes]);
}

function withMetadata(bytes: Uint8Array, promptId: string, node: string, isWhole: boolean): Buffer {
  const metadata = Buffer.from(JSON.stringify({ node_id: node, prompt_id: promptId, image_type: isWhole ? "image/png" : "image/jpeg" }));
  const head = Buffer.alloc(8);
  head.writeUInt32BE(4, 0);
  head.writeUInt32BE(metadata.length, 4);
  return Buffer.concat([head, metadata, bytes]);
}
