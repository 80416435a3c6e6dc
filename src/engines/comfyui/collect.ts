import { join } from "node:path";
import { reasonOf } from "../../errors/fettle-error.ts";
import type { Attempt, AttemptResult, ConnectOptions } from "../engine.ts";
import { type FetchedFile, writeAnswer } from "./answer.ts";
import type { ComfyApi } from "./api.ts";
import { executionFailure, type Failed, lost } from "./failure.ts";
import { withoutPrefix } from "./isolate.ts";
import { mimeOf, readOutputs } from "./outputs.ts";
import type { Pictures } from "./pictures.ts";
import type { HistoryEntry } from "./server-state.ts";

export interface CollectParts {
  readonly api: ComfyApi;
  readonly attempt: Attempt;
  readonly pictures: Pictures;
  readonly readAnswer: ConnectOptions["readAnswer"];
  readonly signal: AbortSignal;
  /** Bytes of an output came. */
  readonly onActivity: () => void;
  readonly engineMs: number;
  readonly parameters: Readonly<Record<string, unknown>> | undefined;
  readonly warnings: readonly string[];
}

/** Why a prompt that ended gave nothing; undefined when it succeeded. */
export function failureIn(entry: HistoryEntry): Failed | undefined {
  const error = entry.messages.find(([event]) => event === "execution_error");
  if (error) return executionFailure(error[1]);
  // Somebody else pressed the button; the job can run again.
  if (entry.messages.some(([event]) => event === "execution_interrupted"))
    return { type: "failed", code: "engine.failed", message: "Cannot run the job: somebody interrupted it on the engine.", retryable: true };
  return entry.succeeded ? undefined : executionFailure({});
}

/** Fetches what a successful prompt made and writes the answer. */
export async function collect(entry: HistoryEntry, parts: CollectParts): Promise<AttemptResult> {
  const { attempt, pictures, engineMs, parameters, warnings } = parts;
  if (pictures.isIncomplete) {
    const message = "Cannot run the job: pictures of SaveImageWebsocket were lost with the connection that carries them.";
    return { type: "failed", code: "engine.failed", message, retryable: true };
  }
  const outputs = readOutputs(entry);
  const sent = await pictures.files();
  const { files: fetched, errors } = await fetchFiles(sent.length > 0 ? outputs.files.filter(({ type }) => type !== "temp") : outputs.files, parts);
  if (parts.signal.aborted) return { type: "cancelled" };
  const files = [...sent, ...fetched];
  if (files.length === 0 && errors.length > 0) return lost(`its outputs cannot be read: ${errors[0]}`);
  const reader = await parts.readAnswer({ ...attempt, input: { ...attempt.input, send_images: false } });
  try {
    await writeAnswer(reader, { files, texts: outputs.texts, errors, ...(parameters && { parameters }) });
    const verdict = await reader.end();
    if (verdict.type === "good") return { type: "done", output: { ...verdict.output, warnings: [...verdict.output.warnings, ...warnings] }, engineMs };
    return { type: "failed", code: verdict.code, message: verdict.message, retryable: false, ...(verdict.details && { details: verdict.details }) };
  } finally {
    await reader.discard();
  }
}

async function fetchFiles(outputs: ReturnType<typeof readOutputs>["files"], { api, attempt, signal, onActivity }: CollectParts) {
  const files: FetchedFile[] = [];
  const errors: string[] = [];
  for (const [index, file] of outputs.entries()) {
    const path = join(attempt.dir, `output-${index}`);
    try {
      const { mime, sizeBytes } = await api.view(file, path, { signal, onBytes: onActivity });
      files.push({ ...file, subfolder: withoutPrefix(file.subfolder, attempt.id), path, mime: mimeOf(file.filename, mime), sizeBytes });
    } catch (error) {
      // This machine's disk, not the engine.
      if (/^E(NOSPC|IO|ROFS|DQUOT|FBIG|MFILE|ACCES|NOENT)$/.test(String((error as NodeJS.ErrnoException).code))) throw error;
      errors.push(`${file.filename} of node ${file.node}: ${reasonOf(error)}`);
    }
  }
  return { files, errors };
}
