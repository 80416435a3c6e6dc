import { randomUUID } from "node:crypto";
import type { RunpodSourceConfig } from "../../config/schema/sources.ts";
import type { Progress } from "../../engines/engine.ts";
import type { FettleEvent } from "../../events/event.ts";
import type { Log } from "../../log/log.ts";
import { pause } from "../../util/pause.ts";
import type { EnginePulse } from "../engine-pulse.ts";
import type { EnvelopeLimits } from "../envelope.ts";
import type { JobInput } from "../job.ts";
import type { BodyStyle, Delivery, Lease, Source } from "../source.ts";
import type { TerminalResult } from "../terminal-result.ts";
import { type CheckFitness, RunpodFitness } from "./runpod-fitness.ts";
import { RunpodHeld } from "./runpod-held.ts";
import { wireId } from "./runpod-id.ts";
import { keepPinging, type PingTarget } from "./runpod-ping.ts";
import { postOnce, postResult } from "./runpod-post.ts";
import { readJobs } from "./runpod-received.ts";
import { postPiece } from "./runpod-stream.ts";
import { watchStops } from "./runpod-stop.ts";
import { RunpodTaker } from "./runpod-take.ts";
import { fillTemplate, type RunpodIdentity, siblingOf, withQuery } from "./runpod-url.ts";

export interface RunpodSourceParts {
  readonly config: RunpodSourceConfig;
  readonly limits: EnvelopeLimits;
  readonly log: Log;
  readonly emit: (event: FettleEvent) => void;
  /** Pings stop when it says that no engine is alive. */
  readonly pulse: Pick<EnginePulse, "isAlive">;
  /** What is wrong with the machine; left out when it was looked at before. */
  readonly checkFitness?: CheckFitness | undefined;
  /** Ends the container, after what is held has been finished. */
  readonly endContainer: (exitCode: number, reason: string) => void;
}

/** RunPod's safe line for /run, and what /runsync takes. */
const usualMaxResult = { run: 10_000_000, sync: 20_000_000 };

/** RunPod serverless, as the SDK 1.12.0 speaks it: long polls for jobs and for cancelled ones, one post per result, pings beside them. */
export class RunpodSource implements Source {
  readonly name = "runpod";
  readonly takeWhen: "ready" | "always";
  readonly concurrency: number;
  readonly canRelease = false;
  readonly onRepeat = "deliver";
  readonly bodyStyle: BodyStyle;
  readonly progress?: (lease: Lease, progress: Progress) => void;
  /** Only where the platform says where pieces go. */
  readonly partial?: (lease: Lease, value: unknown) => Promise<void>;
  readonly #parts: RunpodSourceParts;
  readonly #identity: RunpodIdentity;
  readonly #pingTarget: PingTarget | undefined;
  readonly #taker: RunpodTaker;
  readonly #held: RunpodHeld;
  readonly #fitness: RunpodFitness;
  /** Taken but not yet handed over: a batch answers with several. */
  #waiting: JobInput[] = [];
  #canBatch = true;
  #hasLeased = false;
  readonly #closing = new AbortController();
  #background: Promise<unknown> = Promise.resolve();

  constructor(parts: RunpodSourceParts) {
    const { config, log } = parts;
    this.#parts = parts;
    this.takeWhen = config.takeWhen;
    this.concurrency = config.concurrency;
    this.bodyStyle = config.refreshWorker ? "runpod-refresh" : "runpod";
    this.#identity = { podId: config.podId || randomUUID(), gpuTypeId: config.gpuTypeId };
    // Like the SDK: without a key or a pod the platform could not tell who pings.
    const canPing = config.pingUrl !== "" && config.apiKey !== "" && config.podId !== "";
    this.#pingTarget = canPing ? { template: config.pingUrl, apiKey: config.apiKey, identity: this.#identity } : undefined;
    this.#taker = new RunpodTaker({ apiKey: config.apiKey, pollMs: config.pollTimeout });
    this.#fitness = new RunpodFitness({ check: parts.checkFitness, target: this.#pingTarget, log, endContainer: parts.endContainer });
    this.#held = new RunpodHeld({ everyMs: config.progressInterval, post: (job, body, options) => this.#postProgress(job, body, options) });
    if (config.progressInterval > 0) this.progress = ({ job }, progress) => this.#held.progressOf(job.id)?.offer(progress);
    if (config.streamUrl) this.partial = (lease, value) => this.#postPiece(lease, value);
  }

  async open(): Promise<void> {
    const { config, pulse, log } = this.#parts;
    const { signal } = this.#closing;
    const work: Promise<unknown>[] = [this.#fitness.begin({ signal })];
    if (this.#pingTarget) {
      const isAlive = () => pulse.isAlive && !this.#fitness.isUnfit;
      const onSilence = (isSilent: boolean) => {
        if (!isSilent) log.info("RunPod gets pings again.");
        else if (!this.#fitness.isUnfit) log.warn("RunPod gets no pings from here on: no engine of this worker is alive.");
      };
      const options = { ...this.#pingTarget, intervalMs: config.pingInterval, heldIds: () => this.#held.ids, isAlive, onSilence };
      work.push(keepPinging(options, { signal }));
    }
    const stopUrl = siblingOf(config.takeUrl, "job-stop");
    if (stopUrl === undefined)
      log.warn("Jobs that their callers cancel on RunPod run to their end: the job-take URL has no /job-take/ to derive job-stop from.");
    else {
      const onStop = (ids: readonly string[]) => {
        for (const id of ids) this.#held.cancel(id);
      };
      const onTrouble = (message: string) => log.warn(message);
      const { apiKey, pollTimeout: pollMs } = config;
      work.push(watchStops({ url: fillTemplate(stopUrl, this.#identity, this.#identity.podId), apiKey, pollMs, onStop, onTrouble }, { signal }));
    }
    this.#background = Promise.all(work);
  }

  async lease({ signal, wanted }: { signal: AbortSignal; wanted: number }): Promise<Lease | null> {
    const isLastOne = this.#parts.config.refreshWorker && this.#hasLeased;
    if (isLastOne || !(await this.#fitness.isFit({ signal }))) await aborted(signal);
    while (!signal.aborted) {
      const batchUrl = wanted > 1 && this.#canBatch ? siblingOf(this.#parts.config.takeUrl, "job-take-batch") : undefined;
      const url = fillTemplate(batchUrl ?? this.#parts.config.takeUrl, this.#identity, this.#identity.podId);
      const query = { ...(batchUrl !== undefined && { batch_size: String(wanted) }), job_in_progress: this.#held.size > 0 ? "1" : "0" };
      const take = await this.#taker.take(withQuery(url, query), { signal, isBatch: batchUrl !== undefined });
      if (take.type === "aborted") return null;
      if (take.type === "unknown-endpoint") {
        this.#canBatch = false;
        this.#parts.log.debug("RunPod has no job-take-batch here; jobs are taken one by one.");
        continue;
      }
      const read = take.type === "jobs" ? this.#receive(take.text) : take;
      const next = this.#waiting.shift();
      if (next) {
        this.#hasLeased = true;
        return this.adopt(next);
      }
      if (!read) continue;
      if (read.type === "failed") this.#parts.emit({ type: "source.failed", source: this.name, message: read.message, retryInMs: read.pauseMs });
      await pause(read.pauseMs, { signal });
    }
    return null;
  }

  streams({ job }: Lease): void {
    this.#held.noteStreamed(job.id);
  }

  rest(): readonly Lease[] {
    const rest = this.#waiting;
    this.#waiting = [];
    return rest.map((job) => this.adopt(job));
  }

  adopt(job: JobInput): Lease {
    return this.#held.lease(job);
  }

  maxResultBytes({ job }: Lease): number {
    const { maxResult } = this.#parts.config;
    return maxResult ?? (job.id.startsWith("sync-") ? usualMaxResult.sync : usualMaxResult.run);
  }

  /**
   * A cancelled job's result is posted like any other: what the platform expects for it is not known (the SDK posts nothing for an
   * async handler, the whole result for a sync one), and a job that is answered cannot hang there.
   */
  async deliver({ job }: Lease, result: TerminalResult, { signal }: { signal: AbortSignal }): Promise<Delivery> {
    const { config, emit, endContainer } = this.#parts;
    await this.#held.progressOf(job.id)?.end();
    const url = this.#urlOf(config.doneUrl, job.id, { isStream: String(this.#held.hasStreamed(job.id)) });
    const onRetry = (message: string, retryInMs: number) => emit({ type: "source.failed", source: this.name, message, retryInMs });
    const delivery = await postResult(url, result, { apiKey: config.apiKey, answerMs: config.answerTimeout, signal, onRetry });
    if (delivery.type === "refused") return delivery;
    this.#held.remove(job.id);
    if (config.refreshWorker && delivery.type === "delivered") endContainer(0, "a fresh worker is wanted after each job (refreshWorker)");
    return delivery;
  }

  /** The protocol has no way to hand a job back. */
  async release(): Promise<boolean> {
    return false;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#background;
  }

  /** One job or a list of them. Undefined when something came of it. */
  #receive(text: string): ReturnType<RunpodTaker["failedToRead"]> | undefined {
    const { jobs, unanswerable } = readJobs(text, this.#parts.limits);
    for (const start of unanswerable) this.#parts.log.error(`RunPod handed out something that has no id to answer to: ${JSON.stringify(start)}.`);
    if (jobs.length === 0) return this.#taker.failedToRead();
    this.#taker.succeeded();
    // Pings name them before they are run.
    for (const { id } of jobs) this.#held.expect(id);
    this.#waiting.push(...jobs);
    return undefined;
  }

  async #postProgress(job: string, body: string, { signal }: { signal: AbortSignal }): Promise<void> {
    const { doneUrl, apiKey, answerTimeout: answerMs } = this.#parts.config;
    const url = this.#urlOf(doneUrl, job, { isStream: String(this.#held.hasStreamed(job)) });
    await postOnce(url, job, new Blob([body]), { apiKey, answerMs, signal: AbortSignal.any([signal, this.#closing.signal]) });
  }

  async #postPiece({ job, signal }: Lease, value: unknown): Promise<void> {
    const { streamUrl, apiKey, answerTimeout: answerMs } = this.#parts.config;
    this.#held.noteStreamed(job.id);
    const options = { apiKey, answerMs, signal: AbortSignal.any([signal, this.#closing.signal]) };
    // The SDK says isStream=false here, always.
    const reason = await postPiece(this.#urlOf(streamUrl, job.id, { isStream: "false" }), job.id, value, options);
    if (reason !== undefined && !signal.aborted) this.#parts.log.warn(`A piece of the output never reached RunPod: ${reason}.`, { job: job.id });
  }

  #urlOf(template: string, job: string, query: Readonly<Record<string, string>>): string {
    return withQuery(fillTemplate(template, this.#identity, wireId(job)), query);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener("abort", () => resolve(), { once: true })));
}
