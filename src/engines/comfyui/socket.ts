import { pause } from "../../util/pause.ts";
import type { Base } from "../sdapi/request.ts";
import { isRecord } from "./workflow.ts";

/** What the WebSocket tells of one prompt. It is a hint: frames may be lost, late or never come; the history is the truth. */
export type Hint =
  | { readonly type: "started" }
  | { readonly type: "cached"; readonly nodes: readonly string[] }
  /** A node begins; null: the prompt is over. */
  | { readonly type: "node"; readonly node: string | null }
  | { readonly type: "progress"; readonly node: string; readonly value: number; readonly max: number }
  | { readonly type: "over" }
  | { readonly type: "picture"; readonly mime: string; readonly bytes: Uint8Array; readonly node: string | undefined; readonly isWhole: boolean }
  /** The socket was away for a while; whatever happened then is not told again. */
  | { readonly type: "gap" };

export type Listener = (hint: Hint) => void;

const openWithinMs = 2000;
const firstPauseMs = 100;
const longestPauseMs = 5000;

/**
 * One socket per connection to an engine, opened when the first prompt is to be followed and kept. It comes back by itself while
 * somebody listens. Its client id names this worker, so that a later life knows its prompts again.
 *
 *   closed ──listen──► opening ──open──► open
 *      ▲                  │ refused        │ dropped
 *      └── nobody listens ┴──── pause ◄────┘
 */
export class ComfySocket {
  readonly #url: string;
  readonly #listeners = new Map<string, Listener>();
  readonly #closing = new AbortController();
  #socket: WebSocket | undefined;
  #isOpen = false;
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #onFrame: (() => void) | undefined;
  #opened = Promise.withResolvers<void>();
  /** Binary frames without a prompt's id belong to the prompt and node that run. */
  #current: { readonly prompt: string; readonly node: string | null } | undefined;

  constructor(base: Base, clientId: string) {
    const url = new URL(`${base.url}/ws`);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("clientId", clientId);
    this.#url = url.href;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Follows a prompt until the returned function is called. */
  listen(promptId: string, listener: Listener): () => void {
    this.#listeners.set(promptId, listener);
    this.#running ??= this.#run();
    this.#wake?.();
    return () => void this.#listeners.delete(promptId);
  }

  /** Resolves when the socket is open, or when waiting for it is not worth more. */
  async untilOpen({ signal }: { signal: AbortSignal }): Promise<void> {
    if (this.#isOpen) return;
    const enough = new AbortController();
    await Promise.race([this.#opened.promise, pause(openWithinMs, { signal: AbortSignal.any([signal, enough.signal]) })]);
    enough.abort();
  }

  /** Opens the socket anew and says whether it hears: a server greets each client at once. */
  async renew({ signal }: { signal: AbortSignal }): Promise<boolean> {
    const greeted = Promise.withResolvers<boolean>();
    this.#onFrame = () => greeted.resolve(true);
    this.#socket?.close();
    const enough = new AbortController();
    const late = pause(openWithinMs, { signal: AbortSignal.any([signal, enough.signal]) }).then(() => false);
    const hears = await Promise.race([greeted.promise, late]);
    enough.abort();
    this.#onFrame = undefined;
    return hears;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#socket?.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    for (let failures = 0; !signal.aborted;) {
      const wasOpen = await this.#connectOnce();
      failures = wasOpen ? 1 : failures + 1;
      if (this.#listeners.size === 0)
        await new Promise<void>((resolve) => ((this.#wake = resolve), signal.addEventListener("abort", () => resolve(), { once: true })));
      else await pause(Math.min(longestPauseMs, firstPauseMs * 2 ** (failures - 1)), { signal });
    }
  }

  /** Until the socket has closed; true when it had been open. */
  #connectOnce(): Promise<boolean> {
    return new Promise((resolve) => {
      let wasOpen = false;
      let socket: WebSocket;
      try {
        socket = new WebSocket(this.#url);
      } catch {
        return resolve(false);
      }
      this.#socket = socket;
      socket.binaryType = "arraybuffer";
      const limit = setTimeout(() => !wasOpen && socket.close(), openWithinMs * 2);
      const end = () => {
        clearTimeout(limit);
        if (this.#socket === socket) this.#socket = undefined;
        if (this.#isOpen) this.#opened = Promise.withResolvers();
        this.#isOpen = false;
        this.#current = undefined;
        resolve(wasOpen);
      };
      socket.addEventListener("open", () => {
        wasOpen = true;
        // Previews then come with the ids of their prompt and node.
        socket.send(JSON.stringify({ type: "feature_flags", data: { supports_preview_metadata: true } }));
        this.#isOpen = true;
        this.#opened.resolve();
        for (const listener of this.#listeners.values()) listener({ type: "gap" });
      });
      socket.addEventListener("message", ({ data }: { readonly data: unknown }) => {
        if (this.#socket === socket) this.#onFrame?.();
        if (typeof data === "string") this.#text(data);
        else if (data instanceof ArrayBuffer) this.#binary(new Uint8Array(data));
      });
      socket.addEventListener("close", end, { once: true });
      socket.addEventListener("error", () => socket.close());
    });
  }

  #text(text: string): void {
    let message: unknown;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (!isRecord(message) || !isRecord(message["data"])) return;
    const { type, data } = message as { type: unknown; data: Record<string, unknown> };
    const prompt = typeof data["prompt_id"] === "string" ? data["prompt_id"] : undefined;
    if (prompt === undefined) return;
    if (type === "executing") this.#current = { prompt, node: textOrNull(data["node"]) };
    const listener = this.#listeners.get(prompt);
    const hint = listener && readHint(type, data);
    if (hint) listener(hint);
  }

  /** u32 event: 1 picture (u32 format), 4 picture with metadata (u32 length, JSON). */
  #binary(bytes: Uint8Array): void {
    if (bytes.length < 8) return;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const event = view.getUint32(0);
    if (event === 1 && this.#current) {
      const isWhole = view.getUint32(4) === 2;
      const { prompt, node } = this.#current;
      this.#listeners.get(prompt)?.({
        type: "picture",
        mime: isWhole ? "image/png" : "image/jpeg",
        bytes: bytes.subarray(8),
        node: node ?? undefined,
        isWhole,
      });
    }
    if (event === 4) {
      const length = view.getUint32(4);
      const metadata = parse(Buffer.from(bytes.buffer, bytes.byteOffset + 8, Math.min(length, bytes.length - 8)).toString("utf8"));
      if (!isRecord(metadata)) return;
      const mime = typeof metadata["image_type"] === "string" ? metadata["image_type"] : "image/jpeg";
      const node = textOrNull(metadata["node_id"]) ?? undefined;
      this.#listeners.get(String(metadata["prompt_id"]))?.({ type: "picture", mime, bytes: bytes.subarray(8 + length), node, isWhole: mime === "image/png" });
    }
  }
}

function readHint(type: unknown, data: Record<string, unknown>): Hint | undefined {
  switch (type) {
    case "execution_start":
      return { type: "started" };
    case "execution_cached":
      return { type: "cached", nodes: Array.isArray(data["nodes"]) ? data["nodes"].map(String) : [] };
    case "executing":
      return { type: "node", node: textOrNull(data["node"]) };
    case "progress":
      return { type: "progress", node: String(data["node"]), value: Number(data["value"]), max: Number(data["max"]) };
    case "execution_success":
    case "execution_error":
    case "execution_interrupted":
      return { type: "over" };
    default:
      return undefined;
  }
}

function textOrNull(value: unknown): string | null {
  return typeof value === "string" || typeof value === "number" ? String(value) : null;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
