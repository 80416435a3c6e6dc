import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { reasonOf } from "../../errors/fettle-error.ts";
import type { AnswerReader, AttemptResult, EngineOutput } from "../engine.ts";
import type { AnswerFrame } from "./answer-frames.ts";

/** `broken`: the child was gone before all of it was here. */
export type Spooled =
  | { readonly type: "spooled"; readonly output: EngineOutput }
  | { readonly type: "failed"; readonly result: AttemptResult }
  | { readonly type: "broken"; readonly reason: string };

export interface SpoolOptions {
  /** As the last frame announced it; undefined: there is no output. */
  readonly sizeBytes: number | undefined;
  readonly dir: string;
  openReader(): Promise<AnswerReader>;
  onActivity(): void;
}

/** Moves an announced output into the answer's file, at the disk's speed. No output is a file of 0 bytes, which no JSON value is. */
export async function spool(frames: AsyncGenerator<AnswerFrame, void>, options: SpoolOptions): Promise<Spooled> {
  try {
    return options.sizeBytes === undefined ? { type: "spooled", output: await noOutput(options.dir) } : await read(frames, options.sizeBytes, options);
  } catch (error) {
    // The disk's errors have a system code; anything else is a bug and stays one.
    if (typeof (error as NodeJS.ErrnoException).code !== "string") throw error;
    const message = `Cannot run the job: its result cannot be kept: ${reasonOf(error)}.`;
    return { type: "failed", result: { type: "failed", code: "result.cannot-store", message, retryable: false } };
  }
}

async function read(frames: AsyncGenerator<AnswerFrame, void>, sizeBytes: number, { openReader, onActivity }: SpoolOptions): Promise<Spooled> {
  const reader = await openReader();
  try {
    for (let left = sizeBytes; left > 0;) {
      const next = await frames.next().catch((error: unknown) => ({ broken: reasonOf(error) }));
      if ("broken" in next) return { type: "broken", reason: next.broken };
      if (next.done || next.value.type !== "bytes") return { type: "broken", reason: "its answer broke off" };
      left -= next.value.bytes.length;
      onActivity();
      if (!(await reader.write(next.value.bytes))) break;
    }
    const verdict = await reader.end();
    if (verdict.type === "good") return { type: "spooled", output: verdict.output };
    const { code, message, details } = verdict;
    return { type: "failed", result: { type: "failed", code, message, retryable: false, ...(details && { details }) } };
  } finally {
    await reader.discard();
  }
}

async function noOutput(dir: string): Promise<EngineOutput> {
  const path = join(dir, "answer.json");
  await writeFile(path, "");
  const sha256 = createHash("sha256").digest("hex");
  return { answer: { path, mime: "application/json", sizeBytes: 0, sha256 }, images: [], warnings: [] };
}
