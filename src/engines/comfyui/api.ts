import { createWriteStream } from "node:fs";
import type { Base } from "../sdapi/request.ts";
import { askJson, postJson } from "../sdapi/request.ts";
import { type ObjectInfo, readObjectInfo } from "./object-info.ts";
import { isRecord, type Workflow } from "./workflow.ts";

/** A file that a prompt made, as the history names it. */
export interface FileName {
  readonly filename: string;
  readonly subfolder: string;
  readonly type: string;
}

/** A prompt's end as GET /history/ID tells it. */
export interface HistoryEntry {
  readonly outputs: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly succeeded: boolean;
  /** `[event, fields]` in the order they happened, the last one says how it ended. */
  readonly messages: readonly (readonly [string, Readonly<Record<string, unknown>>])[];
}

export interface PromptRequest {
  readonly workflow: Workflow;
  readonly promptId: string;
  readonly clientId: string;
  readonly extra: Readonly<Record<string, unknown>>;
}

interface Cancel {
  readonly signal: AbortSignal;
}

const usualMs = 10_000;
const longestRefusal = 2_097_152;

/**
 * ComfyUI's HTTP routes, one method each (0.3.x to 0.33; see the protocol in docs). No Origin header is sent: ComfyUI refuses a
 * foreign one. Everything but the download of a file has a time limit, because a server may hold a connection without an answer.
 */
export class ComfyApi {
  readonly base: Base;

  constructor(base: Base) {
    this.base = base;
  }

  async isUp({ signal }: Cancel): Promise<boolean> {
    const stats = await this.#ask("/system_stats", { signal }).catch(() => undefined);
    return stats?.status === 200 && isRecord(stats.body) && isRecord(stats.body["system"]);
  }

  async objectInfo({ signal }: Cancel): Promise<ObjectInfo> {
    const { status, body } = await this.#ask("/object_info", { signal, limitMs: 60_000 });
    if (status !== 200) throw new Error(`/object_info answered ${status}`);
    return readObjectInfo(body);
  }

  /** Sent once and never again by itself: a prompt that is queued twice runs twice. */
  async submit(request: PromptRequest, { signal }: Cancel): Promise<{ readonly status: number; readonly body: unknown }> {
    const body = JSON.stringify({
      prompt: request.workflow,
      prompt_id: request.promptId,
      client_id: request.clientId,
      ...(Object.keys(request.extra).length > 0 && { extra_data: request.extra }),
    });
    const response = await postJson(this.base, "/prompt", body, { signal: AbortSignal.any([signal, AbortSignal.timeout(60_000)]) });
    const parts: Buffer[] = [];
    let size = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      parts.push(chunk);
      if ((size += chunk.length) > longestRefusal) break;
    }
    response.destroy();
    const text = Buffer.concat(parts).toString("utf8");
    try {
      return { status: response.statusCode ?? 0, body: JSON.parse(text) };
    } catch {
      return { status: response.statusCode ?? 0, body: text };
    }
  }

  /** Undefined: not there, which is so while the prompt waits or runs and when the server does not know it. */
  async history(promptId: string, { signal }: Cancel): Promise<HistoryEntry | undefined> {
    const { status, body } = await this.#ask(`/history/${encodeURIComponent(promptId)}`, { signal, limitMs: 30_000 });
    if (status !== 200) throw new Error(`/history answered ${status}`);
    const entry = isRecord(body) ? body[promptId] : undefined;
    if (!isRecord(entry)) return undefined;
    const state = isRecord(entry["status"]) ? entry["status"] : {};
    const messages = Array.isArray(state["messages"]) ? state["messages"].flatMap(readMessage) : [];
    const outputs = isRecord(entry["outputs"]) ? (entry["outputs"] as HistoryEntry["outputs"]) : {};
    // Very old versions have no status at all; outputs then mean success.
    const succeeded = state["status_str"] === undefined ? true : state["status_str"] === "success";
    return { outputs, succeeded, messages };
  }

  /** Prompt ids that run and that wait, the latter in their order. */
  async queue({ signal }: Cancel): Promise<{ readonly running: readonly QueueItem[]; readonly pending: readonly QueueItem[] }> {
    const { status, body } = await this.#ask("/queue", { signal });
    if (status !== 200 || !isRecord(body)) throw new Error(`/queue answered ${status}`);
    const items = (key: string) => (Array.isArray(body[key]) ? body[key].flatMap(readItem) : []).sort((a, b) => a.number - b.number);
    return { running: items("queue_running"), pending: items("queue_pending") };
  }

  /** Only this prompt; nothing happens when it does not run. An old server without the field would interrupt whatever runs. */
  async interrupt(promptId: string, { signal }: Cancel): Promise<void> {
    await this.#post("/interrupt", { prompt_id: promptId }, { signal });
  }

  /** Only waiting prompts can be deleted; nobody is told. */
  async unqueue(promptIds: readonly string[], { signal }: Cancel): Promise<void> {
    await this.#post("/queue", { delete: promptIds }, { signal });
  }

  async forget(promptId: string, { signal }: Cancel): Promise<void> {
    await this.#post("/history", { delete: [promptId] }, { signal });
  }

  /** Acted on by the server between two prompts. */
  async free({ signal }: Cancel): Promise<void> {
    await this.#post("/free", { unload_models: true, free_memory: true }, { signal });
  }

  /** The name to use in a workflow: the server may have chosen another one. */
  async upload(name: string, bytes: Uint8Array<ArrayBuffer>, options: Cancel & { readonly mime: string; readonly subfolder: string }): Promise<string> {
    const form = new FormData();
    form.set("image", new Blob([bytes], { type: options.mime }), name);
    form.set("type", "input");
    form.set("subfolder", options.subfolder);
    form.set("overwrite", "true");
    const response = await fetch(`${this.base.url}/upload/image`, {
      method: "POST",
      body: form,
      headers: this.#credentials(),
      signal: AbortSignal.any([options.signal, AbortSignal.timeout(60_000)]),
    });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`the upload was answered with ${response.status}${text ? `: ${text.slice(0, 200)}` : ""}`);
    const answer: unknown = JSON.parse(text);
    if (!isRecord(answer) || typeof answer["name"] !== "string") throw new Error("the upload's answer names no file");
    const subfolder = typeof answer["subfolder"] === "string" ? answer["subfolder"] : "";
    return subfolder ? `${subfolder}/${answer["name"]}` : answer["name"];
  }

  /** Saves a made file; its size and the server's word on its type. */
  async view({ filename, subfolder, type }: FileName, path: string, { signal }: Cancel): Promise<{ readonly mime: string; readonly sizeBytes: number }> {
    const query = new URLSearchParams({ filename, subfolder, type });
    const response = await fetch(`${this.base.url}/view?${query}`, { headers: this.#credentials(), signal });
    if (response.status !== 200 || !response.body) {
      await response.body?.cancel();
      throw new Error(`/view answered ${response.status}`);
    }
    const file = createWriteStream(path);
    let sizeBytes = 0;
    try {
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
        sizeBytes += chunk.byteLength;
        await new Promise<void>((resolve, reject) => file.write(chunk, (error) => (error ? reject(error) : resolve())));
      }
      await new Promise<void>((resolve, reject) => file.end((error?: Error | null) => (error ? reject(error) : resolve())));
    } finally {
      file.destroy();
    }
    const length = response.headers.get("content-length");
    if (length !== null && !response.headers.has("content-encoding") && Number(length) !== sizeBytes) throw new Error("the file broke off");
    return { mime: response.headers.get("content-type")?.split(";")[0] ?? "application/octet-stream", sizeBytes };
  }

  async #post(path: string, body: unknown, { signal }: Cancel): Promise<void> {
    const response = await fetch(this.base.url + path, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json", ...this.#credentials() },
      signal: AbortSignal.any([signal, AbortSignal.timeout(usualMs)]),
    });
    await response.arrayBuffer();
    if (response.status >= 400) throw new Error(`${path} answered ${response.status}`);
  }

  async #ask(path: string, { signal, limitMs = usualMs }: Cancel & { readonly limitMs?: number }): Promise<{ status: number; body: unknown }> {
    return await askJson(this.base, path, { signal: AbortSignal.any([signal, AbortSignal.timeout(limitMs)]) });
  }

  #credentials(): Record<string, string> {
    return this.base.authorization ? { authorization: this.base.authorization } : {};
  }
}

export interface QueueItem {
  readonly number: number;
  readonly promptId: string;
  readonly clientId: string | undefined;
}

function readItem(item: unknown): QueueItem[] {
  if (!Array.isArray(item)) return [];
  const [number, promptId, , extra] = item as readonly unknown[];
  if (typeof promptId !== "string") return [];
  const clientId = isRecord(extra) && typeof extra["client_id"] === "string" ? extra["client_id"] : undefined;
  return [{ number: typeof number === "number" ? number : 0, promptId, clientId }];
}

function readMessage(message: unknown): [string, Record<string, unknown>][] {
  if (!Array.isArray(message)) return [];
  const [event, fields] = message as readonly unknown[];
  return typeof event === "string" && isRecord(fields) ? [[event, fields]] : [];
}
