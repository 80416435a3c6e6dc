import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import { createGate } from "../../util/gate.ts";
import { unpackFiles } from "../../util/unpack-files.ts";
import { helperFiles } from "./helper-files.ts";

export interface HelperPlace {
  /** A Python with Pillow: a name on the PATH, or a path. */
  readonly python: string;
  /** Folder under which the bundled helper is unpacked. */
  readonly assetRoot: string;
  readonly signal: AbortSignal;
}

/** What helper/pictures.py reads. */
export interface HelperRequest {
  /** `index` names a picture in messages. */
  readonly images: readonly { readonly path: string; readonly index: number; readonly parameters?: string }[];
  readonly format?: string;
  readonly qualities?: readonly number[];
  readonly dir?: string;
  readonly fit?: { readonly bytes: number; readonly times: readonly number[] };
}

export type HelperImage =
  | { readonly kept: true; readonly warning: string }
  | {
      readonly kept?: undefined;
      readonly path: string;
      readonly sizeBytes: number;
      readonly sha256: string;
      readonly width: number;
      readonly height: number;
      readonly black?: boolean;
      readonly warning?: string;
    };

export interface HelperAnswer {
  readonly images: readonly HelperImage[];
  /** The quality used; null when none of them was small enough. */
  readonly quality: number | null;
}

type Said = HelperAnswer | { readonly error: string; readonly index?: number; readonly missing?: string };

const longestMs = 120_000;
const longestAnswer = 4 * 1024 * 1024;
/** Each holds a decoded picture or two and uses one core fully. */
const gate = createGate(2);

/**
 * One run of the bundled helper, in a process of its own for each job: it starts within 50 ms, its memory is gone when it ends, and
 * a picture that brings it down costs this job only. A process kept for the next job would save those 50 ms and cost 30 MB for ever.
 * Throws `result.cannot-convert`, or `result.bad-image` when a picture cannot be decoded.
 */
export async function runHelper(request: HelperRequest, { python, assetRoot, signal }: HelperPlace): Promise<HelperAnswer> {
  const dir = unpackHelper(assetRoot);
  using _turn = await gate.enter({ signal });
  const said = await talk([python, "-B", join(dir, "pictures.py")], JSON.stringify(request), signal);
  if (!("error" in said)) return said;
  if (said.index !== undefined) throw new FettleError("result.bad-image", `Cannot use the engine's answer: image ${said.index} ${said.error}.`);
  throw cannot(`${said.error}; the Python asked is ${python}`);
}

function cannot(reason: string, cause?: unknown): FettleError {
  return new FettleError("result.cannot-convert", `Cannot convert the images: ${reason.replace(/\.$/, "")}.`, cause === undefined ? {} : { cause });
}

function unpackHelper(root: string): string {
  try {
    return unpackFiles(root, "pictures", helperFiles);
  } catch (error) {
    throw cannot(`the helper cannot be unpacked into ${root} (${reasonOf(error)})`, error);
  }
}

async function talk([program = "", ...args]: readonly string[], input: string, signal: AbortSignal): Promise<Said> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(longestMs)]);
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], signal: limit, killSignal: "SIGKILL" });
  const failed = new Promise<never>((_, reject) => {
    child.once("error", (error: NodeJS.ErrnoException) => {
      const reason = limit.aborted ? (signal.aborted ? "fettle was stopped meanwhile" : `the helper took longer than ${longestMs / 1000} s`) : reasonOf(error);
      reject(cannot(error.code === "ENOENT" ? `there is no program ${program}` : reason, error));
    });
  });
  failed.catch(() => {});
  // A helper that died before it read everything says why on stderr.
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors = (errors + text).slice(-4000)));
  const answer = readAll(child.stdout.setEncoding("utf8") as AsyncIterable<string>);
  answer.catch(() => {});
  const [code, endedBy] = (await Promise.race([once(child, "close"), failed])) as [number | null, string | null];
  try {
    return JSON.parse(await answer) as Said;
  } catch {
    const last = errors.trim().split("\n").at(-1) || "it said nothing";
    throw cannot(`the helper ended with ${endedBy ?? `code ${code}`}: ${last}`);
  }
}

async function readAll(stream: AsyncIterable<string>): Promise<string> {
  let text = "";
  for await (const chunk of stream) if (text.length < longestAnswer) text += chunk;
  return text;
}
