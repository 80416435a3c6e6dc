/** What the connection's tests share: a connection with short times, jobs, and workflows that need no model. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectComfyui } from "../../../src/engines/comfyui/connect.ts";
import type { AttemptResult, ConnectOptions, RunOptions } from "../../../src/engines/engine.ts";
import { createAnswerReader } from "../../../src/results/answer-reader.ts";

export interface Wish {
  readonly options?: Partial<ConnectOptions>;
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly slots?: number;
  readonly name?: string;
}

export type Connection = ReturnType<typeof connect>;

export function connect(url: string, { options = {}, settings = {}, slots = 1, name = "comfy" }: Wish = {}) {
  const dir = mkdtempSync(join(tmpdir(), "fettle-comfy-"));
  const readAnswer: ConnectOptions["readAnswer"] = (attempt) => createAnswerReader(attempt, { blackImages: "fail" });
  const engine = connectComfyui({ name, url, slots, settings }, { timeoutMs: 60_000, retry: { tries: 3, backoffMs: 1 }, readAnswer, ...options });
  let count = 0;
  return {
    engine,
    async run(input: Readonly<Record<string, unknown>>, more: Partial<RunOptions> & { readonly id?: string } = {}) {
      const { id = `attempt-${++count}`, ...run } = more;
      const own = join(dir, id);
      mkdirSync(own, { recursive: true });
      return await engine.run({ id, jobId: `job-${id}`, input, dir: own }, { signal: new AbortController().signal, ...run });
    },
    dir,
    async [Symbol.asyncDispose]() {
      await engine.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

export interface AnswerBody {
  readonly images: readonly string[];
  readonly outputs: readonly { readonly node: string; readonly filename: string; readonly subfolder?: string }[];
  readonly files?: readonly Readonly<Record<string, unknown>>[];
  readonly contents?: readonly string[];
  readonly texts?: readonly Readonly<Record<string, unknown>>[];
  readonly errors?: readonly string[];
  readonly parameters?: Readonly<Record<string, unknown>>;
}

/** The whole answer of a job that must be done. */
export function answerOf(result: AttemptResult): AnswerBody {
  if (result.type !== "done") throw new Error(say(result));
  return JSON.parse(readFileSync(result.output.answer.path, "utf8")) as AnswerBody;
}

/** `done`, `cancelled` or the code and message of a failure, for one assertion. */
export function say(result: AttemptResult): string {
  return result.type === "failed" ? `${result.code} ${result.retryable ? "retryable " : ""}${result.message}` : result.type;
}

const picture = (color: number) => ({ class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color } });

/** EmptyImage → some nodes → an output. */
export function workflow(color = 1, { through = {}, output = "SaveImage" }: { through?: Readonly<Record<string, unknown>> | undefined; output?: string } = {}) {
  const isThrough = Object.keys(through).length > 0;
  const middle = isThrough
    ? { "2": { class_type: through["class_type"], inputs: { image: ["1", 0], ...(through["inputs"] as object) } } }
    : { "2": { class_type: "ImageInvert", inputs: { image: ["1", 0] } } };
  const prefix = output === "SaveImage" ? { filename_prefix: "mine/x" } : {};
  return { "1": picture(color), ...middle, "3": { class_type: output, inputs: { images: ["2", 0], ...prefix } } };
}

/** Runs until the test lets go of it; `blocking`: an interrupt does nothing until then. */
export const holding = (blocking = false, color = 1) => ({ workflow: workflow(color, { through: { class_type: "Hold", inputs: { blocking } } }) });

export const failing = (kind: string, message: string) => ({ workflow: workflow(1, { through: { class_type: "Fail", inputs: { kind, message } } }) });
