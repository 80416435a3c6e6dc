import { pause } from "../../util/pause.ts";
import type { Base } from "../request.ts";
import { readForkFrame } from "./fork-frames.ts";
import { type Current, type Hint, readBinary, readText, type Told } from "./frames.ts";
import type { Verdict } from "./refusal.ts";

export type Listener = (hint: Hint) => void;

const openWithinMs = 2000;
/** Checking a large workflow takes its time. */
const answerWithinMs = 60_000;
const firstPauseMs = 100;
const longestPauseMs = 5000;

/**
 * One socket per connection to an engine, opened when the first prompt is to be followed and kept. It comes back by itself while
 * somebody listens. Its client id names this worker, so that a later life knows its prompts again.
 *
 *   closed ──listen──► opening ──open──► open ──first frame──► hears
 *      ▲                  │ refused        │ dropped, renewed     │
 *      └── nobody listens ┴──── pause ◄────┴──────────────────────┘
 */
export class ComfySocket {
  readonly #url: string;
  readonly #authorization: string | undefined;
  readonly #listeners = new Map<string, Listener>();
  readonly #closing = new AbortController();
  /** Leaves the present connection, whatever its peer does. */
  #leave: (() => void) | undefined;
  #isOpen = false;
  #hears = false;
  #socket: WebSocket | undefined;
  #clientId: string;
  /** Resolves with the answer to the prompt that was sent over the socket; one at a time, as answers name no question. */
  #answer: ((verdict: Verdict | undefined) => void) | undefined;
  #asking: Promise<unknown> = Promise.resolve();
  #failures = 0;
  #running: Promise<void> | undefined;
  #renewal: Promise<boolean> | undefined;
  #wake: (() => void) | undefined;
  /** Resolves at the end of the first attempt to open it, good or bad. */
  #tried = Promise.withResolvers<void>();
  #greeted = Promise.withResolvers<boolean>();
  #current: Current | undefined;
  /** A picture that only the socket carries did not arrive: the next ones better come another way. */
  losesPictures = false;

  constructor(base: Base, clientId: string) {
    const url = new URL(`${base.url}/ws`);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("clientId", clientId);
    this.#clientId = clientId;
    this.#url = url.href;
    this.#authorization = base.authorization;
  }

  /** Something has come over the present connection: a server greets each client at once, so one that hears nothing is deaf. */
  get hears(): boolean {
    return this.#isOpen && this.#hears;
  }

  /** What prompts must be sent with so that their events come here: the id asked for, or the one a fork gave instead. */
  get clientId(): string {
    return this.#clientId;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Sends a prompt over the socket (stakeordie's form). Undefined: the socket went before the answer, so nobody knows. */
  submit(data: Readonly<Record<string, unknown>>, { signal }: { signal: AbortSignal }): Promise<Verdict | undefined> {
    const asked = this.#asking.then(async () => await this.#submit(data, signal));
    this.#asking = asked.catch(() => {});
    return asked;
  }

  async #submit(data: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<Verdict | undefined> {
    if (!this.#isOpen || !this.#socket || signal.aborted) return undefined;
    const answered = Promise.withResolvers<Verdict | undefined>();
    this.#answer = answered.resolve;
    this.#socket.send(JSON.stringify({ type: "prompt", data }));
    const enough = new AbortController();
    const late = pause(answerWithinMs, { signal: AbortSignal.any([signal, enough.signal]) }).then(() => undefined);
    try {
      return await Promise.race([answered.promise, late]);
    } finally {
      enough.abort();
      this.#answer = undefined;
    }
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
    if (this.#isOpen || this.#failures > 0) return;
    await this.#within(this.#tried.promise, undefined, signal);
  }

  /** Whether it hears, after waiting a little for the server's greeting. */
  async untilHears({ signal }: { signal: AbortSignal }): Promise<boolean> {
    this.#running ??= this.#run();
    this.#wake?.();
    if (this.#hears || this.#failures > 0) return this.hears;
    return await this.#within(this.#greeted.promise, false, signal);
  }

  /** Opens the socket anew and says whether it hears. All who ask at once share the answer. */
  async renew({ signal }: { signal: AbortSignal }): Promise<boolean> {
    this.#renewal ??= this.#renew().finally(() => (this.#renewal = undefined));
    return await this.#within(this.#renewal, false, signal);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#leave?.();
    await this.#running;
  }

  async #renew(): Promise<boolean> {
    this.#leave?.();
    return await this.#within(this.#greeted.promise, false, this.#closing.signal);
  }

  async #within<T>(promise: Promise<T>, otherwise: T, signal: AbortSignal): Promise<T> {
    const enough = new AbortController();
    const late = pause(openWithinMs, { signal: AbortSignal.any([signal, enough.signal]) }).then(() => otherwise);
    try {
      return await Promise.race([promise, late]);
    } finally {
      enough.abort();
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    const aborted = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    while (!signal.aborted) {
      const wasOpen = await this.#connectOnce();
      this.#failures = wasOpen ? 0 : this.#failures + 1;
      this.#tried.resolve();
      this.#tried = Promise.withResolvers();
      if (this.#listeners.size === 0) await Promise.race([aborted, new Promise<void>((resolve) => (this.#wake = resolve))]);
      else await pause(Math.min(longestPauseMs, firstPauseMs * 2 ** this.#failures), { signal });
    }
  }

  /** Until the connection is over; true when it had been open. */
  #connectOnce(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = open(this.#url, this.#authorization);
      if (!socket) return resolve(false);
      const over = new AbortController();
      const { signal } = over;
      let wasOpen = false;
      const end = () => {
        if (signal.aborted) return;
        over.abort();
        clearTimeout(limit);
        this.#leave = undefined;
        this.#socket = undefined;
        this.#answer?.(undefined);
        this.#isOpen = this.#hears = false;
        this.#current = undefined;
        discard(socket);
        if (wasOpen) this.#tellGap();
        resolve(wasOpen);
      };
      const limit = setTimeout(() => !wasOpen && end(), openWithinMs * 2);
      this.#leave = end;
      socket.binaryType = "arraybuffer";
      const onOpen = () => {
        wasOpen = this.#isOpen = true;
        this.#socket = socket;
        this.#failures = 0;
        // Previews then come with the ids of their prompt and node. It must be the first message.
        socket.send(JSON.stringify({ type: "feature_flags", data: { supports_preview_metadata: true } }));
        this.#tried.resolve();
        this.#tellGap();
      };
      socket.addEventListener("open", onOpen, { signal });
      socket.addEventListener("message", ({ data }: { readonly data: unknown }) => this.#receive(data), { signal });
      socket.addEventListener("close", end, { signal });
      socket.addEventListener("error", end, { signal });
    });
  }

  /** It went, or it is back: whoever waits for an end had better look. */
  #tellGap(): void {
    for (const listener of this.#listeners.values()) listener({ type: "gap" });
  }

  #receive(frame: unknown): void {
    if (!this.#hears) {
      this.#hears = true;
      this.#greeted.resolve(true);
      this.#greeted = Promise.withResolvers();
    }
    const fork = typeof frame === "string" ? readForkFrame(frame) : undefined;
    if (fork?.type === "client") this.#clientId = fork.id;
    else if (fork) this.#answer?.(fork);
    let told: (Told & { readonly current?: Current }) | undefined;
    if (typeof frame === "string") told = readText(frame);
    else if (frame instanceof ArrayBuffer) told = readBinary(new Uint8Array(frame), this.#current);
    if (told?.current) this.#current = told.current;
    if (told) this.#listeners.get(told.promptId)?.(told.hint);
  }
}

/** Bun and Deno both take headers beside the address; the standard does not know them. */
function open(url: string, authorization: string | undefined): WebSocket | undefined {
  try {
    return authorization === undefined ? new WebSocket(url) : new WebSocket(url, { headers: { authorization } } as never);
  } catch {
    return undefined;
  }
}

/** Without waiting for a peer that may never say goodbye; Bun can do without the handshake. */
function discard(socket: WebSocket): void {
  socket.addEventListener("error", () => {});
  try {
    if ("terminate" in socket && typeof socket.terminate === "function") socket.terminate();
    else socket.close();
  } catch {
    // It was not open yet.
  }
}
