import { open } from "node:fs/promises";
import type { Base } from "../request.ts";
import { askJson, postJson } from "../request.ts";
import { readClassNames } from "./class-names.ts";
import { type NodeClass, readNodeClass } from "./object-info.ts";
import { type FileName, type HistoryEntry, type Queue, readHistory, readQueue } from "./server-state.ts";
import { isRecord, type Workflow } from "./workflow.ts";

export interface PromptRequest {
  readonly workflow: Workflow;
  readonly promptId: string;
  readonly clientId: string;
  readonly extra: Readonly<Record<string, unknown>>;
}

interface Cancel {
  readonly signal: AbortSignal;
}

/** The server answered, and not with what was asked for. */
export class BadStatus extends Error {
  override readonly name = "BadStatus";
  readonly status: number;

  constructor(path: string, status: number, said = "") {
    super(`${path} answered ${status}${said ? `: ${said.slice(0, 200)}` : ""}`);
    this.status = status;
  }
}

const usualMs = 10_000;
const longMs = 60_000;
const longestRefusal = 2_097_152;

/**
 * ComfyUI's HTTP routes, one method each (0.3.x to 0.33; see docs/comfyui.md). No Origin header is sent: ComfyUI refuses a
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

  /** One class alone: the whole of /object_info is tens of MB where there are many custom nodes. Undefined: the server has none of this name. */
  async nodeClass(name: string, { signal }: Cancel): Promise<NodeClass | undefined> {
    const { status, body } = await this.#ask(`/object_info/${encodeURIComponent(name)}`, { signal, limitMs: longMs });
    if (status !== 200 || !isRecord(body)) throw new BadStatus("/object_info", status);
    const node = body[name];
    return isRecord(node) ? readNodeClass(name, node) : undefined;
  }

  /** Read as a stream for the names alone. */
  async classNames({ signal }: Cancel): Promise<readonly string[]> {
    const response = await fetch(`${this.base.url}/object_info`, { headers: this.#credentials(), signal: limited(signal, longMs) });
    if (response.status !== 200 || !response.body) {
      await response.body?.cancel();
      throw new BadStatus("/object_info", response.status);
    }
    return await readClassNames(response.body as unknown as AsyncIterable<Uint8Array>);
  }

  /** Sent once and never again by itself: a prompt that is queued twice runs twice. */
  async submit(request: PromptRequest, { signal }: Cancel): Promise<{ readonly status: number; readonly body: unknown }> {
    const body = JSON.stringify({
      prompt: request.workflow,
      prompt_id: request.promptId,
      client_id: request.clientId,
      ...(Object.keys(request.extra).length > 0 && { extra_data: request.extra }),
    });
    const response = await postJson(this.base, "/prompt", body, { signal: limited(signal, longMs) });
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
    if (status !== 200) throw new BadStatus("/history", status);
    return readHistory(body, promptId);
  }

  async queue({ signal }: Cancel): Promise<Queue> {
    const { status, body } = await this.#ask("/queue", { signal });
    if (status !== 200 || !isRecord(body)) throw new BadStatus("/queue", status);
    return readQueue(body);
  }

  /** Only this prompt; nothing happens when it does not run. A server older than 0.3.5x knows no ids here and interrupts whatever runs. */
  async interrupt(promptId: string, { signal }: Cancel): Promise<void> {
    await this.#post("/interrupt", { prompt_id: promptId }, { signal });
  }

  /** Only waiting prompts can be deleted; nobody is told. */
  async unqueue(promptIds: readonly string[], { signal }: Cancel): Promise<void> {
    await this.#post("/queue", { delete: promptIds }, { signal });
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
    const init = { method: "POST", body: form, headers: this.#credentials(), signal: limited(options.signal, longMs) };
    const response = await fetch(`${this.base.url}/upload/image`, init);
    const text = await response.text();
    if (response.status !== 200) throw new BadStatus("/upload/image", response.status, text);
    const answer: unknown = JSON.parse(text);
    if (!isRecord(answer) || typeof answer["name"] !== "string") throw new Error("the upload's answer names no file");
    const subfolder = typeof answer["subfolder"] === "string" ? answer["subfolder"] : "";
    return subfolder ? `${subfolder}/${answer["name"]}` : answer["name"];
  }

  /** Saves a made file, chunk by chunk; its size and the server's word on its type. */
  async view(
    { filename, subfolder, type }: FileName,
    path: string,
    { signal, onBytes }: Cancel & { readonly onBytes: () => void },
  ): Promise<{ readonly mime: string; readonly sizeBytes: number }> {
    const query = new URLSearchParams({ filename, subfolder, type });
    const response = await fetch(`${this.base.url}/view?${query}`, { headers: this.#credentials(), signal });
    if (response.status !== 200 || !response.body) {
      await response.body?.cancel();
      throw new BadStatus("/view", response.status);
    }
    await using file = await open(path, "w", 0o600);
    let sizeBytes = 0;
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      onBytes();
      for (let done = 0; done < chunk.byteLength;) done += (await file.write(chunk, done)).bytesWritten;
      sizeBytes += chunk.byteLength;
    }
    const length = response.headers.get("content-length");
    if (length !== null && !response.headers.has("content-encoding") && Number(length) !== sizeBytes) throw new Error("the file broke off");
    return { mime: response.headers.get("content-type")?.split(";")[0] ?? "application/octet-stream", sizeBytes };
  }

  async #post(path: string, body: unknown, { signal }: Cancel): Promise<void> {
    const headers = { "content-type": "application/json", ...this.#credentials() };
    const response = await fetch(this.base.url + path, { method: "POST", body: JSON.stringify(body), headers, signal: limited(signal, usualMs) });
    await response.arrayBuffer();
    if (response.status >= 400) throw new BadStatus(path, response.status);
  }

  async #ask(path: string, { signal, limitMs = usualMs }: Cancel & { readonly limitMs?: number }): Promise<{ status: number; body: unknown }> {
    return await askJson(this.base, path, { signal: limited(signal, limitMs) });
  }

  #credentials(): Record<string, string> {
    return this.base.authorization ? { authorization: this.base.authorization } : {};
  }
}

function limited(signal: AbortSignal, ms: number): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(ms)]);
}
