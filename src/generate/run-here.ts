import type { Config } from "../config/schema/index.ts";
import { connectorOf } from "../engines/index.ts";
import { FettleError } from "../errors/fettle-error.ts";
import { Pool } from "../jobs/pool.ts";
import { type Prepare, prepareUntouched } from "../jobs/prepare/prepare.ts";
import { createAnswerReader } from "../results/answer-reader.ts";
import type { BootedEngine } from "./boot-engine.ts";
import type { Target } from "./target.ts";

/** An engine that dies takes the jobs with it that it ran; each gets so many tries. */
const tries = 2;

/** Jobs on an engine that is ready, with the worker's own pool and connection. Disposing it disposes the engine. */
export function targetHere(booted: BootedEngine, config: Pick<Config, "jobs">, prepare: Prepare = prepareUntouched): Target {
  const { timeout, retry, blackImages } = config.jobs;
  const connect = connectorOf(booted.engine.kind);
  if (!connect) throw new Error(`a plan with an engine of the unknown kind ${booted.engine.kind}`);
  const engine = connect(booted.engine, {
    timeoutMs: timeout,
    retry: { tries: retry.tries, backoffMs: retry.backoff },
    readAnswer: (attempt) => createAnswerReader(attempt, { blackImages, keepImages: true }),
  });
  const pool = new Pool();
  pool.add(engine);
  pool.setReady(engine.name, true);
  let count = 0;
  return {
    slots: engine.slots,
    canQueue: false,
    async run(job, { dir, signal, onProgress }) {
      const prepared = await prepare({ id: job.id ?? "generate", source: "generate", input: job.input, extra: job.extra, receivedAt: Date.now() }, { signal });
      if (prepared.type === "invalid") throw new FettleError(prepared.failure.code, prepared.failure.message);
      const request = prepared.forEngine(engine.kind);
      if (request.type === "invalid") throw new FettleError(request.failure.code, request.failure.message);
      const { input, call } = request;
      const slot = await pool.acquire({ signal });
      try {
        for (let attempt = 1; ; attempt++) {
          await booted.untilReady({ signal });
          signal.throwIfAborted();
          count += 1;
          const result = await engine.run(
            { id: `generate-${count}`, jobId: "generate", input, ...(call !== undefined && { call }), dir },
            { signal, ...(onProgress && { onProgress }) },
          );
          signal.throwIfAborted();
          if (result.type === "done") return { ...result, output: { ...result.output, warnings: [...request.warnings, ...result.output.warnings] } };
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
