import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { Config } from "../config/schema/index.ts";
import type { EngineOutput } from "../engines/engine.ts";
import { connectorOf } from "../engines/index.ts";
import { FettleError } from "../errors/fettle-error.ts";
import { Pool } from "../jobs/pool.ts";
import type { Failure } from "../jobs/finisher.ts";
import { createPreparer } from "../jobs/prepare/create-prepare.ts";
import type { JobOptions } from "../jobs/prepare/prepare.ts";
import { createTemplateBook, templateSettingsOf } from "../jobs/prepare/templates.ts";
import type { JobInput } from "../jobs/job.ts";
import type { Log } from "../log/log.ts";
import { createAnswerReader } from "../results/answer-reader.ts";
import { createFinishStep } from "../results/finish/finish-step.ts";
import type { BootedEngine } from "./boot-engine.ts";
import type { Target } from "./target.ts";

/** An engine that dies takes the jobs with it that it ran; each gets so many tries. */
const tries = 2;

export interface HereOptions {
  readonly config: Pick<Config, "jobs" | "results" | "stateDir">;
  readonly log: Log;
}

/**
 * Jobs on an engine that is ready, read, run and finished by the worker's own parts; only the bucket and the folder of
 * `results` are left out, for the images go where the command line says. Disposing it disposes the engine.
 */
export function targetHere(booted: BootedEngine, { config, log }: HereOptions): Target {
  const { timeout, retry, blackImages } = config.jobs;
  const connect = connectorOf(booted.engine.kind);
  if (!connect) throw new Error(`a plan with an engine of the unknown kind ${booted.engine.kind}`);
  const engine = connect(booted.engine, {
    timeoutMs: timeout,
    retry: { tries: retry.tries, backoffMs: retry.backoff },
    letGoMs: config.jobs.letGo,
    loadingMs: config.jobs.loading,
    readAnswer: (attempt) => createAnswerReader(attempt, { blackImages, keepImages: true }),
  });
  const pool = new Pool();
  pool.add(engine);
  pool.setReady(engine.name, true);
  const templates = templateSettingsOf([booted.engine]);
  const rules = { ...config.jobs, jobBuckets: config.results.jobBuckets };
  const { prepare } = createPreparer(rules, [booted.engine.kind], templates && createTemplateBook(templates));
  const { files: _files, s3: _s3, ...results } = config.results;
  const finish = createFinishStep({ results, blackImages, assetRoot: join(config.stateDir, "assets"), log });
  let count = 0;
  // Two runs on one engine must not meet in its folders.
  const runId = randomUUID().slice(0, 8);

  async function finished(
    output: EngineOutput,
    job: JobInput,
    options: JobOptions,
    { dir, signal }: { dir: string; signal: AbortSignal },
  ): Promise<EngineOutput> {
    // Images are wanted here, wherever the job's caller would have had them.
    const { bucket: _bucket, ...rest } = options;
    const end = await finish(output, { job, options: { ...rest, shape: "engine", meta: false }, dir, maxBytes: undefined, signal });
    signal.throwIfAborted();
    if (end.type === "failed") throw errorOf(end.failure);
    return end.output;
  }
  return {
    slots: engine.slots,
    canQueue: false,
    async run({ id, input: given, extra }, { dir, signal, onProgress }) {
      const job = { id: id ?? "generate", source: "generate", input: given, extra, receivedAt: Date.now() };
      const prepared = await prepare(job, { signal });
      signal.throwIfAborted();
      if (prepared.type === "invalid") throw errorOf(prepared.failure);
      const request = prepared.forEngine(engine.kind);
      if (request.type === "invalid") throw errorOf(request.failure);
      const { input, call } = request;
      const slot = await pool.acquire({ signal });
      try {
        for (let attempt = 1; ; attempt++) {
          await booted.untilReady({ signal });
          signal.throwIfAborted();
          count += 1;
          const result = await engine.run(
            { id: `generate-${runId}-${count}`, jobId: "generate", input, ...(call !== undefined && { call }), dir },
            { signal, ...(onProgress && { onProgress }) },
          );
          signal.throwIfAborted();
          if (result.type === "done") {
            const output = await finished(result.output, job, prepared.options, { dir, signal });
            return { engineMs: result.engineMs, output: { ...output, warnings: [...request.warnings, ...output.warnings] } };
          }
          if (result.type === "cancelled") throw new FettleError("job.cancelled", "Cannot finish the job: it was cancelled.");
          if (result.code === "engine.lost" && attempt < tries && booted.isOwn) continue;
          throw new FettleError(result.code, result.message, { ...(result.details && { details: result.details }) });
        }
      } finally {
        slot?.release();
      }
    },
    async [Symbol.asyncDispose]() {
      await engine.close();
      await booted[Symbol.asyncDispose]();
    },
  };
}

function errorOf({ code, message, path, details }: Failure): FettleError {
  return new FettleError(code, message, { ...(path !== undefined && { where: { path } }), ...(details && { details }) });
}
