import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../config/schema/index.ts";
import type { EngineOutput, Progress } from "../engines/engine.ts";
import { connectorOf } from "../engines/index.ts";
import { FettleError } from "../errors/fettle-error.ts";
import { Pool } from "../jobs/pool.ts";
import type { PlannedEngine } from "../plan/plan.ts";
import { createAnswerReader } from "../results/answer-reader.ts";
import type { JobBody } from "./read-job.ts";

export interface RunOptions {
  readonly engine: PlannedEngine;
  readonly config: Pick<Config, "jobs">;
  readonly input: JobBody;
  /** The answer and its images are written here; the folder is the caller's. */
  readonly dir: string;
  readonly signal: AbortSignal;
  onProgress?(progress: Progress): void;
}

export interface Ran {
  readonly output: EngineOutput;
  readonly engineMs: number;
}

/** Runs one job on an engine that is ready, with the worker's own pool and connection. Rejects with the failure's own code. */
export async function runHere({ engine: planned, config, input, dir, signal, onProgress }: RunOptions): Promise<Ran> {
  const { timeout, retry, blackImages } = config.jobs;
  const connect = connectorOf(planned.kind);
  if (!connect) throw new Error(`a plan with an engine of the unknown kind ${planned.kind}`);
  const engine = connect(planned, {
    timeoutMs: timeout,
    retry: { tries: retry.tries, backoffMs: retry.backoff },
    readAnswer: (attempt) => createAnswerReader(attempt, { blackImages, keepImages: true }),
  });
  const pool = new Pool();
  pool.add(engine);
  pool.setReady(engine.name, true);
  const attemptDir = join(dir, "attempt");
  mkdirSync(attemptDir, { recursive: true });
  try {
    const slot = await pool.acquire({ signal });
    signal.throwIfAborted();
    const result = await engine.run({ id: "generate-1", jobId: "generate", input, dir: attemptDir }, { signal, ...(onProgress && { onProgress }) });
    slot?.release();
    signal.throwIfAborted();
    if (result.type === "done") return result;
    if (result.type === "cancelled") throw new FettleError("job.cancelled", "Cannot finish the job: it was cancelled.");
    throw new FettleError(result.code, result.message, { ...(result.details && { details: result.details }) });
  } finally {
    await engine.close();
  }
}
