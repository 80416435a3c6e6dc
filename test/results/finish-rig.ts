/** One result on its way through the finishing step: a real answer read from text, then the step as a worker makes it. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { WorkerSettings } from "../../src/control/protocol.ts";
import { type JobOptions, usualOptions } from "../../src/jobs/prepare/prepare.ts";
import { createLog } from "../../src/log/log.ts";
import { createAnswerReader } from "../../src/results/answer-reader.ts";
import { createFinishStep } from "../../src/results/finish/finish-step.ts";
import { makeAttempt } from "../fixtures/sdapi-answer.ts";
import { usualResults } from "../fixtures/usual-results.ts";

export interface FinishWish {
  readonly answer: string;
  readonly results?: Partial<WorkerSettings["results"]>;
  readonly options?: Partial<JobOptions>;
  readonly blackImages?: "fail" | "warn" | "off";
  readonly maxBytes?: number;
  readonly id?: string;
  readonly signal?: AbortSignal;
  /** The engine may answer without images. */
  readonly mayBeEmpty?: boolean;
}

export async function finish({ answer, results, options, blackImages = "fail", maxBytes, id = "job-1", signal, mayBeEmpty = false }: FinishWish) {
  await using attempt = await makeAttempt();
  const reader = await createAnswerReader({ ...attempt, ...(mayBeEmpty && { input: { send_images: false } }) }, { blackImages: "off" });
  await reader.write(Buffer.from(answer));
  const verdict = await reader.end();
  if (verdict.type === "bad") throw new Error(verdict.message);
  const lines: string[] = [];
  const log = createLog({ format: "plain", level: "debug", write: (line) => lines.push(line) });
  const python = process.env["FETTLE_TEST_PYTHON"];
  const settings = { ...usualResults, ...(python && { python }), ...results };
  const step = createFinishStep({ results: settings, blackImages, assetRoot: join(attempt.dir, "assets"), log });
  const job = { id, source: "test", input: {}, extra: {}, receivedAt: 0 };
  const context = { job, options: { ...usualOptions, ...options }, dir: attempt.dir, maxBytes, signal: signal ?? new AbortController().signal };
  const end = await step(verdict.output, context);
  if (end.type === "failed") return { ...end, lines, text: "", value: {} as Answer, isSame: false, warnings: [] };
  const text = readFileSync(end.output.answer.path, "utf8");
  const { sizeBytes, sha256 } = end.output.answer;
  if (sizeBytes !== Buffer.byteLength(text) || sha256 !== createHash("sha256").update(text).digest("hex")) throw new Error("the answer's facts are wrong");
  const isSame = end.output.answer === verdict.output.answer;
  return { ...end, lines, text, value: JSON.parse(text) as Answer, isSame, warnings: end.output.warnings };
}

export interface Answer {
  readonly images: readonly string[];
  readonly info?: string;
  readonly parameters?: unknown;
  readonly image_url?: string;
  readonly seed?: number;
}

/** The bytes of an image of an answer, with or without a `data:` prefix. */
export function bytesOf(image: string | undefined): Buffer {
  return Buffer.from(image?.replace(/^data:[^,]*,/, "") ?? "", "base64");
}

export function formatOf(image: string | undefined): string {
  const bytes = bytesOf(image);
  return bytes[0] === 0x89 ? "png" : bytes[0] === 0xff ? "jpeg" : bytes.toString("latin1", 8, 12).toLowerCase();
}
