import { pause } from "../../util/pause.ts";
import type { ComfyApi, HistoryEntry } from "./api.ts";
import type { ComfySocket, Hint } from "./socket.ts";

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
  /** The prompt waits behind others, or the socket turned out to be deaf: silence means nothing then. */
  readonly onActivity: () => void;
}

/** With a socket that speaks, the history is asked so often in case a frame was lost; without one, this often after a quick start. */
const spokenPollMs = 2000;
const silentPollMs = 500;
const firstPollMs = 20;
/** The connection is refused so long before the server counts as gone; a restart is noticed by its empty queue. */
const refusedForMs = 1500;
/** After so long a silence the socket is opened anew: a server greets each client at once, so one that hears nothing is deaf. */
const suspectMs = 30_000;
/** The last frame comes when the history is written, one before it may not. */
const afterOverMs = [1, 5, 20, 100] as const;

/**
 * Waits for the end of a prompt. The socket is a hint that makes it quick; the history and the queue are the truth, asked at each
 * hint of an end, after each gap and now and then in any case.
 */
export class PromptFollower {
  readonly #on: FollowOptions;
  #heard = 0;
  #lastHeardAt = performance.now();
  #overs = 0;
  #wake: (() => void) | undefined;
  readonly #unlisten: () => void;

  /** Listens from now on: made before the prompt is sent, or its first hints are lost. */
  constructor(options: FollowOptions) {
    this.#on = options;
    this.#unlisten = options.socket.listen(options.promptId, (hint) => this.#hear(hint));
  }

  [Symbol.dispose](): void {
    this.#unlisten();
  }

  async untilEnd(): Promise<PromptEnd> {
    const { api, promptId, signal } = this.#on;
    this.#lastHeardAt = performance.now();
    let refusedSince: number | undefined;
    let missing = 0;
    for (let looks = 0; !signal.aborted; looks++) {
      const oversBefore = this.#overs;
      try {
        const entry = await api.history(promptId, { signal });
        refusedSince = undefined;
        if (entry) return { type: "ended", entry };
        if (this.#overs > oversBefore || (await this.#isQueued())) missing = 0;
        else if (++missing >= 3) return { type: "forgotten" };
      } catch (error) {
        if (signal.aborted) break;
        if (isRefused(error)) {
          refusedSince ??= performance.now();
          if (performance.now() - refusedSince > refusedForMs) return { type: "unreachable", reason: reasonIn(error) };
        } else refusedSince = undefined;
      }
      await this.#checkHearing();
      await this.#rest(looks, missing > 0 || refusedSince !== undefined);
    }
    return { type: "cancelled" };
  }

  #hear(hint: Hint): void {
    this.#lastHeardAt = performance.now();
    if (hint.type !== "gap") this.#heard += 1;
    this.#on.onHint(hint);
    const isEnd = hint.type === "over" || (hint.type === "node" && hint.node === null);
    if (!isEnd && hint.type !== "gap") return;
    if (isEnd) this.#overs += 1;
    this.#wake?.();
  }

  /** A prompt that waits behind others is not asked about further. */
  async #isQueued(): Promise<boolean> {
    const { api, promptId, signal } = this.#on;
    const { running, pending } = await api.queue({ signal });
    const waits = pending.some((item) => item.promptId === promptId);
    if (waits) {
      this.#lastHeardAt = performance.now();
      this.#on.onActivity();
    }
    return waits || running.some((item) => item.promptId === promptId);
  }

  async #checkHearing(): Promise<void> {
    if (performance.now() - this.#lastHeardAt < suspectMs) return;
    const { socket, signal, onActivity } = this.#on;
    this.#lastHeardAt = performance.now();
    if (!(await socket.renew({ signal }))) onActivity();
  }

  async #rest(looks: number, isDoubtful: boolean): Promise<void> {
    const { socket, signal } = this.#on;
    const speaks = socket.isOpen && this.#heard > 0;
    const usual = speaks ? spokenPollMs : Math.min(silentPollMs, firstPollMs * 2 ** Math.min(looks, 10));
    // Hints of an end that came before their history: look again soon, a few times.
    const afterOver = this.#overs > 0 ? afterOverMs[Math.min(looks, afterOverMs.length - 1)] : undefined;
    const enough = new AbortController();
    const woken = new Promise<void>((resolve) => (this.#wake = resolve));
    await Promise.race([woken, pause(isDoubtful ? 100 : (afterOver ?? usual), { signal: AbortSignal.any([signal, enough.signal]) })]);
    enough.abort();
    this.#wake = undefined;
  }
}

/** Each runtime words a refused or broken connection in its own way. */
export function isRefused(error: unknown): boolean {
  const seen = [error, (error as { cause?: unknown } | undefined)?.cause];
  return seen.some((one) => {
    const { code, message, name } = (one ?? {}) as { code?: unknown; message?: unknown; name?: unknown };
    if (name === "TimeoutError") return false;
    return /refused|reset|closed|ECONN|EPIPE|NotReached|ConnectionLost|unable to connect|socket/i.test(`${String(code)} ${String(message)} ${String(name)}`);
  });
}

function reasonIn(error: unknown): string {
  const { cause } = (error ?? {}) as { cause?: unknown };
  return (cause instanceof Error ? cause : error instanceof Error ? error : new Error(String(error))).message;
}
