import { randomUUID } from "node:crypto";
import type { RunpodSourceConfig } from "../../config/schema/sources.ts";
import type { FettleEvent } from "../../events/event.ts";
import { pause } from "../../util/pause.ts";
import { type EnvelopeLimits, parseEnvelope } from "../envelope.ts";
import type { JobInput } from "../job.ts";
import { scanJson } from "../json-scan.ts";
import type { Delivery, Lease, Source } from "../source.ts";
import type { TerminalResult } from "../terminal-result.ts";
import { keepPinging } from "./runpod-ping.ts";
import { postResult } from "./runpod-post.ts";
import { RunpodTaker } from "./runpod-take.ts";
import { fillTemplate, type RunpodIdentity, withQuery } from "./runpod-url.ts";

export interface RunpodSourceParts {
  readonly config: RunpodSourceConfig;
  readonly limits: EnvelopeLimits;
  readonly emit: (event: FettleEvent) => void;
}

/** RunPod serverless, as the SDK 1.12.0 speaks it: long polls for jobs, one post per result, pings beside them. */
export class RunpodSource implements Source {
  readonly name = "runpod";
  readonly takeWhen: "ready" | "always";
  readonly concurrency: number;
  readonly canRelease = false;
  readonly onRepeat = "deliver";
  readonly #parts: RunpodSourceParts;
  readonly #identity: RunpodIdentity;
  readonly #taker: RunpodTaker;
  /** Jobs taken but not yet ours to return: a batch answers with several. */
  readonly #waiting: JobInput[] = [];
  /** Every job from its arrival until the platform has its result. */
  readonly #held = new Set<string>();
  readonly #closing = new AbortController();
  #pings: Promise<void> | undefined;

  constructor(parts: RunpodSourceParts) {
    const { config } = parts;
    this.#parts = parts;
    this.takeWhen = config.takeWhen;
    this.concurrency = config.concurrency;
    this.#identity = { podId: config.podId || randomUUID(), gpuTypeId: config.gpuTypeId };
    this.#taker = new RunpodTaker(config.apiKey);
  }

  async open(): Promise<void> {
    const { pingUrl, apiKey, podId, pingInterval } = this.#parts.config;
    // Like the SDK: without a key or a pod the platform could not tell who pings.
    if (!pingUrl || !apiKey || !podId) return;
    const options = { template: pingUrl, apiKey, identity: this.#identity, intervalMs: pingInterval, heldIds: () => this.#held };
    this.#pings = keepPinging(options, { signal: this.#closing.signal });
  }

  async lease({ signal }: { signal: AbortSignal }): Promise<Lease | null> {
    for (;;) {
      const next = this.#waiting.shift();
      if (next) return this.adopt(next);
      if (signal.aborted) return null;
      const url = fillTemplate(this.#parts.config.takeUrl, this.#identity, this.#identity.podId);
      const take = await this.#taker.take(withQuery(url, { job_in_progress: this.#held.size > 0 ? "1" : "0" }), { signal });
      if (take.type === "aborted") return null;
      const read = take.type === "jobs" ? this.#receive(take.text) : take;
      if (!read) continue;
      if (read.type === "failed") this.#parts.emit({ type: "source.failed", source: this.name, message: read.message, retryInMs: read.pauseMs });
      await pause(read.pauseMs, { signal });
    }
  }

  adopt(job: JobInput): Lease {
    this.#held.add(job.id);
    return { job, signal: new AbortController().signal };
  }

  async deliver({ job }: Lease, result: TerminalResult, { signal }: { signal: AbortSignal }): Promise<Delivery> {
    const url = withQuery(fillTemplate(this.#parts.config.doneUrl, this.#identity, job.id), { isStream: "false" });
    const onRetry = (message: string, retryInMs: number) => this.#parts.emit({ type: "source.failed", source: this.name, message, retryInMs });
    const delivery = await postResult(url, result, { apiKey: this.#parts.config.apiKey, signal, onRetry });
    if (delivery.type !== "refused") this.#held.delete(job.id);
    return delivery;
  }

  /** The protocol has no way to hand a job back. */
  async release(): Promise<boolean> {
    return false;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#pings;
  }

  /** One job or a list of them. Undefined when something came of it; a job that cannot be read is ours to fail if it has an id. */
  #receive(text: string): ReturnType<RunpodTaker["failedToRead"]> | undefined {
    const before = this.#waiting.length;
    for (const one of isList(text) ? this.#splitList(text) : [text]) this.#receiveOne(one);
    if (this.#waiting.length === before) return this.#taker.failedToRead();
    this.#taker.succeeded();
    return undefined;
  }

  #receiveOne(text: string): void {
    const envelope = parseEnvelope(text, this.#parts.limits);
    if (envelope.id === undefined) return;
    const { id } = envelope;
    const common = { id, source: this.name, receivedAt: Date.now() };
    this.#held.add(id);
    this.#waiting.push(
      envelope.type === "job" ? { ...common, input: envelope.input, extra: envelope.extra } : { ...common, input: null, extra: {}, fault: envelope.fault },
    );
  }

  /** The members of a batch as texts of their own. A list that nests too deep cannot be parsed; its jobs time out on the platform. */
  #splitList(text: string): string[] {
    const { maxDepth } = this.#parts.limits;
    if (scanJson(text, maxDepth + 1).depth > maxDepth + 1) return [];
    try {
      const list: unknown = JSON.parse(text);
      return Array.isArray(list) ? list.map((one) => JSON.stringify(one)) : [];
    } catch {
      return [];
    }
  }
}

function isList(text: string): boolean {
  return /^\s*\[/.test(text);
}
