import { randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { reasonOf } from "../../errors/fettle-error.ts";
import type { Attempt, AttemptResult } from "../engine.ts";
import { formOf, isRecord } from "./workflow.ts";

/** Runs the job in a file as any other, so that models are loaded before the first caller waits for them. Throws why it could not. */
export async function warmUp(path: string, run: (attempt: Attempt) => Promise<AttemptResult>): Promise<void> {
  const input = await readJob(path);
  const dir = await mkdtemp(join(tmpdir(), "fettle-warm-up-"));
  try {
    const result = await run({ id: `warm-up-${randomUUID()}`, jobId: "warm-up", input, dir });
    if (result.type === "failed") throw new Error(result.message.replace(/\.$/, ""));
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** `{"input": {…}}`, an input, or a workflow as ComfyUI exports it. */
async function readJob(path: string): Promise<Attempt["input"]> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    throw new Error(`${path} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
  const input = isRecord(value) && isRecord(value["input"]) && formOf(value) === "none" ? value["input"] : value;
  if (!isRecord(input)) throw new Error(`${path} holds no JSON object`);
  return formOf(input) === "ui" ? { workflow: input } : input;
}
