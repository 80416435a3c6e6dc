import { pause } from "../../util/pause.ts";
import { BadStatus, type ComfyApi } from "./api.ts";
import type { Hint } from "./frames.ts";
import { isRefused, reasonIn } from "./refused.ts";
import type { HistoryEntry } from "./server-state.ts";
import type { ComfySocket } from "./socket.ts";

/** How a queued prompt came to its end, as far as anybody can know. */
export type PromptEnd =
  | { readonly type: "ended"; readonly entry: HistoryEntry }
  /** Neither waiting, running nor in the history: the server was restarted, or somebody deleted it. */
  | { readonly type: "forgotten" }
  | { readonly type: "unreachable"; readonly reason: string }
  | { readonly type: "cancelled" };

export interface FollowOptions {
  readonly api: ComfyApi;
  readonly socket: ComfySocket;
  readonly promptId: string;
  readonly signal: AbortSignal;
  readonly onHint: (hint: Hint) => void;
  /** The prompt is there, and nothing could be heard of its progress: it waits behind others, or the socket is deaf. */
  readonly onActivity: () => void;
}

/** With a socket that spoke of this prompt, the history is asked so often in case a frame was lost. */
const spokenPollMs = 2000;
/** With a socket that hears but did not speak of it yet: usually its first frame comes before the answer to POST /prompt. */
const hearsPollMs = 250;
/** Without a socket, this often after a quick start. */
const silentPollMs = 500;
const firstPollMs = 20;
/** The history stands a moment after the frame that says how it ended, when the frame after it was lost. */
const afterOverMs = 50;
const doubtfulPollMs = 100;
/** The connection is refused so long before the server counts as gone; a restart is noticed by its empty queue. */
const refusedForMs = 1500;
/** A proxy says for so long that nothing is behind it. */
const badGatewayForMs = 30_000;
const forgottenAfterLooks = 3;
/** When a frame said that it ended, its history is only late. */
const forgottenAfterOverLooks = 50;
/** After so long a silence the socket is opened anew, to see whether the prompt is silent or the socket is deaf. */
const suspectMs = 30_000;

/**
 * Waits for the end of a prompt. The socket is a hint that makes it quick; the history and the queue are the truth, asked at each
 * hint of an end, after each gap and now and then in any case.
 */
export class PromptFollower {
  readonly #on: FollowOptions;
  #promptId: string;
  #unlisten: () => void;
  #heard = false;
  #lastHeardAt = performance.now();
  /** A look is due at once, also when the hint came during the one before. */
  #isDue = false;
  #wake: (() => void) | undefined;
  #soon: ReturnType<typeof setTimeout> | undefined;
  /** The server has been gone since then: refused connections or a proxy's word. */
  #goneSince: number | undefined;
  #missing = 0;
  #isOver = false;

  /** Listens from now on: made before the prompt is sent, or its first hints are lost. */
  constructor(options: FollowOptions) {
    this.#on = options;
    this.#promptId = options.promptId;
    this.#unlisten = options.socket.listen(this.#promptId, (hint) => this.#hear(hint));
  }

  /** Some servers (stakeordie's fork) give each prompt an id of their own, whatever they were sent. */
  follow(promptId: string): void {
    this.#unlisten();
    this.#promptId = promptId;
    this.#unlisten = this.#on.socket.listen(promptId, (hint) => this.#hear(hint));
  }

  [Symbol.dispose](): void {
    this.#unlisten();
    clearTimeout(this.#soon);
  }

  async untilEnd(): Promise<PromptEnd> {
    const { socket, signal } = this.#on;
    this.#lastHeardAt = performance.now();
    // A socket that hears will tell; asking at once would only take the server's time.
    if (socket.hears) await this.#rest(0);
    for (let looks = 0; !signal.aborted; looks++) {
      const end = await this.#look();
      if (end) return end;
      await this.#rest(looks);
    }
    return { type: "cancelled" };
  }

  #hear(hint: Hint): void {
    this.#on.onHint(hint);
    if (hint.type === "gap") return this.#lookNow();
    this.#lastHeardAt = performance.now();
    this.#heard = true;
    this.#isOver ||= hint.type === "over" || (hint.type === "node" && hint.node === null);
    if (hint.type === "node" && hint.node === null) this.#lookNow();
    if (hint.type === "over") this.#soon ??= setTimeout(() => this.#lookNow(), afterOverMs);
  }

  #lookNow(): void {
    this.#isDue = true;
    this.#wake?.();
  }

  async #look(): Promise<PromptEnd | undefined> {
    const { api, signal, socket, onActivity } = this.#on;
    this.#isDue = false;
    try {
      const entry = await api.history(this.#promptId, { signal });
      if (entry) return { type: "ended", entry };
      const place = await this.#place();
      this.#goneSince = undefined;
      this.#missing = place === "none" ? this.#missing + 1 : 0;
      if (this.#missing >= (this.#isOver ? forgottenAfterOverLooks : forgottenAfterLooks)) return { type: "forgotten" };
      if (place === "pending") this.#lastHeardAt = performance.now();
      if (place === "pending" || (place === "running" && !socket.hears)) onActivity();
    } catch (error) {
      return signal.aborted ? undefined : this.#afterNoAnswer(error);
    }
    await this.#checkHearing();
    return undefined;
  }

  async #place(): Promise<"running" | "pending" | "none"> {
    const { api, signal } = this.#on;
    const { running, pending } = await api.queue({ signal });
    if (running.some((item) => item.promptId === this.#promptId)) return "running";
    return pending.some((item) => item.promptId === this.#promptId) ? "pending" : "none";
  }

  /** An answer that does not come is no sign of an end: Python holds everything up while it loads a model. */
  #afterNoAnswer(error: unknown): PromptEnd | undefined {
    const isBadGateway = error instanceof BadStatus && error.status >= 502 && error.status <= 504;
    const allowedMs = isRefused(error) ? refusedForMs : isBadGateway ? badGatewayForMs : undefined;
    if (allowedMs === undefined) this.#goneSince = undefined;
    else {
      this.#goneSince ??= performance.now();
      if (performance.now() - this.#goneSince > allowedMs) return { type: "unreachable", reason: reasonIn(error) };
    }
    return undefined;
  }

  async #checkHearing(): Promise<void> {
    const { socket, signal } = this.#on;
    if (!socket.hears || performance.now() - this.#lastHeardAt < suspectMs) return;
    this.#lastHeardAt = performance.now();
    await socket.renew({ signal });
  }

  async #rest(looks: number): Promise<void> {
    if (this.#isDue) return;
    const { socket, signal } = this.#on;
    const isDoubtful = this.#missing > 0 || this.#goneSince !== undefined;
    const enough = new AbortController();
    const woken = new Promise<void>((resolve) => (this.#wake = resolve));
    await Promise.race([woken, pause(isDoubtful ? doubtfulPollMs : this.#pollMs(looks, socket.hears), { signal: AbortSignal.any([signal, enough.signal]) })]);
    enough.abort();
    this.#wake = undefined;
  }

  #pollMs(looks: number, hears: boolean): number {
    if (!hears) return Math.min(silentPollMs, firstPollMs * 2 ** Math.min(looks, 10));
    return this.#heard ? spokenPollMs : hearsPollMs;
  }
}
