import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { reasonOf } from "../../errors/fettle-error.ts";
import { backoffMs } from "../../util/backoff.ts";
import { pause } from "../../util/pause.ts";
import type { Attempt, AttemptResult, ConnectOptions, RunOptions } from "../engine.ts";
import { NotReached } from "../sdapi/request.ts";
import { type FetchedFile, writeAnswer } from "./answer.ts";
import type { ComfyApi, HistoryEntry } from "./api.ts";
import { executionFailure, type Failed, refusal, workflowFailure } from "./failure.ts";
import { PromptFollower } from "./follow.ts";
import { jobFolder, uploadName, withOwnPrefixes, withoutPrefix, withUploads } from "./isolate.ts";
import type { ServerNodes } from "./nodes.ts";
import { mimeOf, readOutputs } from "./outputs.ts";
import { preflight } from "./preflight.ts";
import { PromptProgress } from "./progress.ts";
import { type ComfyJob, readInput } from "./read-input.ts";
import type { ComfySocket, Hint } from "./socket.ts";
import { stopPrompt } from "./stop.ts";
import type { WorkflowFinder } from "./find-workflow.ts";
import { isRecord, type Workflow } from "./workflow.ts";

export interface PromptRunParts {
  readonly api: ComfyApi;
  readonly socket: ComfySocket;
  readonly nodes: ServerNodes;
  readonly find: WorkflowFinder;
  readonly clientId: string;
  readonly options: ConnectOptions;
  /** For nodes that call comfy.org's paid API, when the job brings none. */
  readonly apiKey: string | undefined;
}

const cap = { factor: 2, maxMs: 10_000, jitter: 0.2 };
const usualLetGoMs = 20_000;

/**
 * One attempt: workflow found, checked and made this job's own, queued once, followed to its end, outputs fetched.
 *
 *   read ─► find ─► upload ─► preflight ─► submit ─► follow ─► fetch ─► done
 *                                  │          │         ├─ forgotten, unreachable ─► engine.lost (run again elsewhere)
 *                                  └ mistakes └ refused └─ cancel, time up ─► deleted or interrupted ─► cancelled | engine.timeout
 */
export class PromptRun {
  readonly #parts: PromptRunParts;
  readonly #attempt: Attempt;
  readonly #on: RunOptions;
  readonly #promptId = randomUUID();
  /** Pictures that came over the socket (SaveImageWebsocket), which no history names. */
  readonly #pictures: { readonly node: string; readonly bytes: Uint8Array }[] = [];

  constructor(parts: PromptRunParts, attempt: Attempt, options: RunOptions) {
    this.#parts = parts;
    this.#attempt = attempt;
    this.#on = options;
  }

  async run(signal: AbortSignal): Promise<AttemptResult> {
    const job = readInput(this.#attempt.input);
    if (job.type === "failed") return job;
    try {
      for (let tries = 1; ; tries++) {
        if (signal.aborted) return { type: "cancelled" };
        try {
          return await this.#once(job, signal);
        } catch (error) {
          if (signal.aborted) return { type: "cancelled" };
          // Nothing was queued yet, or it was not reached: another try doubles no work.
          if (!(error instanceof NotReached || error instanceof BeforeSubmit)) throw error;
          if (tries >= this.#parts.options.retry.tries) return unreachable(error.message);
          await pause(backoffMs(tries, { ...cap, firstMs: this.#parts.options.retry.backoffMs }), { signal });
        }
      }
    } catch (error) {
      if (signal.aborted) return { type: "cancelled" };
      // The reader throws what the disk says; anything without a system code is a bug and stays one.
      if (typeof (error as NodeJS.ErrnoException).code !== "string") throw error;
      return { type: "failed", code: "result.cannot-store", message: `Cannot keep the answer: ${reasonOf(error)}.`, retryable: false };
    }
  }

  async #once(job: ComfyJob, signal: AbortSignal): Promise<AttemptResult> {
    const { nodes } = this.#parts;
    const ready = await beforeSubmit(async () => await this.#makeReady(job, signal));
    if (ready.type === "failed") return ready;
    const faults = await beforeSubmit(
      async () => await nodes.check(ready.workflow, (info) => preflight(ready.workflow, info, { uploads: ready.uploads }), { signal }),
    );
    if (faults.length > 0) return workflowFailure(faults, ready.workflow, "job.invalid");
    return await this.#execute(ready, signal);
  }

  /** The workflow that will be sent: found, with this job's own files. */
  async #makeReady(job: ComfyJob, signal: AbortSignal): Promise<Ready | Failed> {
    const { api, find } = this.#parts;
    const found = await find(job, { signal });
    if (found.type === "failed") return found;
    const uploads = new Map<string, string>();
    for (const [index, { name, bytes, mime }] of [...job.images, ...found.images].entries()) {
      const subfolder = `${jobFolder(this.#attempt.id)}/${index}`;
      uploads.set(name, await api.upload(uploadName(name), bytes, { mime, subfolder, signal }));
    }
    const workflow = withOwnPrefixes(withUploads(found.workflow, uploads), this.#attempt.id);
    return { type: "ready", workflow, uploads: new Set(uploads.values()), apiKey: job.apiKey ?? this.#parts.apiKey, parameters: found.parameters };
  }

  async #execute({ workflow, apiKey, parameters }: Ready, signal: AbortSignal): Promise<AttemptResult> {
    const { api, socket, clientId, options } = this.#parts;
    const { onProgress = () => {}, onActivity = () => {}, wantsPreviews = () => false } = this.#on;
    const progress = new PromptProgress(workflow, { onProgress, wantsPreviews });
    const timeUp = AbortSignal.timeout(options.timeoutMs);
    const stopping = AbortSignal.any([signal, timeUp]);
    const startedMs = performance.now();
    const onHint = (hint: Hint) => {
      if (hint.type === "picture") this.#keepPicture(hint, workflow);
      progress.hear(hint);
      onActivity();
    };
    using follower = new PromptFollower({ api, socket, promptId: this.#promptId, signal: stopping, onHint, onActivity });
    await socket.untilOpen({ signal: stopping });
    if (stopping.aborted) return { type: "cancelled" };
    const extra = { ...(apiKey && { api_key_comfy_org: apiKey }), ...(wantsPreviews() && { preview_method: "auto" }) };
    let queued: Awaited<ReturnType<ComfyApi["submit"]>> | undefined;
    try {
      queued = await api.submit({ workflow, promptId: this.#promptId, clientId, extra }, { signal: stopping });
    } catch (error) {
      if (error instanceof NotReached) throw error;
      // It may have been queued all the same; the queue knows.
    }
    if (queued && (queued.status !== 200 || hasNodeErrors(queued.body))) {
      // Half of the outputs may be queued already.
      if (queued.status === 200) await this.#stop();
      return refusal(queued.status, queued.body, workflow);
    }
    const end = await follower.untilEnd();
    const engineMs = performance.now() - startedMs;
    switch (end.type) {
      case "ended":
        return await this.#read(end.entry, { engineMs, parameters, signal });
      case "forgotten":
        return lost("it does not know the prompt any more; it was restarted, or somebody deleted it");
      case "unreachable":
        return lost(end.reason);
      case "cancelled": {
        const letGo = await this.#stop();
        if (signal.aborted) return { type: "cancelled", ...(!letGo && { remedy: "restart" as const }) };
        return {
          type: "failed",
          code: "engine.timeout",
          message: `Cannot run the job: the engine took longer than ${options.timeoutMs} ms${letGo ? "" : "; it did not react to the interrupt either"}.`,
          retryable: false,
          ...(!letGo && { remedy: "restart" as const }),
          details: { timeoutMs: options.timeoutMs, letGo },
        };
      }
    }
  }

  async #read(
    entry: HistoryEntry,
    { engineMs, parameters, signal }: { engineMs: number; parameters: Ready["parameters"]; signal: AbortSignal },
  ): Promise<AttemptResult> {
    const error = entry.messages.find(([event]) => event === "execution_error");
    if (error) return executionFailure(error[1]);
    // Somebody else pressed the button; the job can run again.
    if (entry.messages.some(([event]) => event === "execution_interrupted")) {
      return { type: "failed", code: "engine.failed", message: "Cannot run the job: somebody interrupted it on the engine.", retryable: !signal.aborted };
    }
    if (!entry.succeeded) return executionFailure({});
    const errors: string[] = [];
    const files = [...(await this.#savePictures()), ...(await this.#fetch(entry, errors, signal))];
    if (signal.aborted) return { type: "cancelled" };
    const { texts } = readOutputs(entry);
    if (files.length === 0 && errors.length > 0) return lost(`its outputs cannot be read: ${errors[0]}`);
    const reader = await this.#parts.options.readAnswer({ ...this.#attempt, input: { ...this.#attempt.input, send_images: false } });
    try {
      await writeAnswer(reader, { files, texts, errors, ...(parameters && { parameters }) });
      const verdict = await reader.end();
      if (verdict.type === "good") return { type: "done", output: verdict.output, engineMs };
      return { type: "failed", code: verdict.code, message: verdict.message, retryable: false, ...(verdict.details && { details: verdict.details }) };
    } finally {
      await reader.discard();
    }
  }

  async #fetch(entry: HistoryEntry, errors: string[], signal: AbortSignal): Promise<FetchedFile[]> {
    const { api } = this.#parts;
    const files: FetchedFile[] = [];
    for (const [index, file] of readOutputs(entry).files.entries()) {
      const path = join(this.#attempt.dir, `output-${index}`);
      try {
        const { mime, sizeBytes } = await api.view(file, path, { signal });
        const subfolder = withoutPrefix(file.subfolder, this.#attempt.id);
        files.push({ ...file, subfolder, path, mime: mimeOf(file.filename, mime), sizeBytes });
      } catch (error) {
        if (typeof (error as NodeJS.ErrnoException).code === "string" && /^E(NOSPC|IO|ROFS|DQUOT)$/.test(String((error as NodeJS.ErrnoException).code)))
          throw error;
        errors.push(`${file.filename} of node ${file.node}: ${reasonOf(error)}`);
      }
    }
    return files;
  }

  #keepPicture(hint: Hint & { type: "picture" }, workflow: Workflow): void {
    if (hint.node !== undefined && workflow[hint.node]?.class_type === "SaveImageWebsocket") this.#pictures.push({ node: hint.node, bytes: hint.bytes });
  }

  async #savePictures(): Promise<FetchedFile[]> {
    const { writeFile } = await import("node:fs/promises");
    return await Promise.all(
      this.#pictures.map(async ({ node, bytes }, index) => {
        const path = join(this.#attempt.dir, `picture-${index}`);
        await writeFile(path, bytes);
        return {
          path,
          node,
          filename: `websocket_${String(index + 1).padStart(5, "0")}.png`,
          subfolder: "",
          type: "output",
          mime: "image/png",
          sizeBytes: bytes.length,
        };
      }),
    );
  }

  async #stop(): Promise<boolean> {
    const { api, options } = this.#parts;
    return await stopPrompt(api, this.#promptId, { letGoMs: options.letGoMs ?? usualLetGoMs });
  }
}

interface Ready {
  readonly type: "ready";
  readonly workflow: Workflow;
  readonly uploads: ReadonlySet<string>;
  readonly apiKey: string | undefined;
  readonly parameters: Readonly<Record<string, unknown>> | undefined;
}

/** The server could not be asked for something that the prompt needs before it can be sent. */
class BeforeSubmit extends Error {
  override readonly name = "BeforeSubmit";
}

async function beforeSubmit<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new BeforeSubmit(reasonOf(error), { cause: error });
  }
}

function hasNodeErrors(body: unknown): boolean {
  return isRecord(body) && isRecord(body["node_errors"]) && Object.keys(body["node_errors"]).length > 0;
}

function lost(reason: string): Failed {
  return { type: "failed", code: "engine.lost", message: `Cannot run the job: the engine lost it (${reason.replace(/\.$/, "")}).`, retryable: true };
}

function unreachable(reason: string): Failed {
  return {
    type: "failed",
    code: "engine.unreachable",
    message: `Cannot run the job: the engine cannot be asked (${reason.replace(/\.$/, "")}).`,
    retryable: true,
  };
}
