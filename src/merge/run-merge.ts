import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { isSecretName } from "../log/mask.ts";
import { spawnChild } from "../supervise/child.ts";
import { tell } from "../supervise/end-family.ts";
import { LineSplitter } from "../supervise/line-splitter.ts";
import { printable } from "../util/printable.ts";
import { unpackFiles } from "../util/unpack-files.ts";
import { helperFiles } from "./helper-files.ts";
import { type HelperErrorCode, type HelperLine, helperErrorCodes, type MergeReport, type MergeRequest } from "./merge-request.ts";

export interface RunMergeOptions {
  readonly python: string;
  /** Folder under which the bundled helper is unpacked. */
  readonly assetRoot: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly dryRun: boolean;
  readonly allowUnmatched: boolean;
  /** Write even when the same request's output is there. */
  readonly force: boolean;
  /** Look for NaN and Inf, and compute some tensors again, when it is written. */
  readonly verify: boolean;
  /** Threads that compute; memory grows by some MB for each. */
  readonly threads: number;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** Aborting ends the helper; nothing is left of the output. */
  readonly signal: AbortSignal;
}

/** Does one merge; the output appears whole or not at all. Throws `merge.failed` with the helper's reason. */
export async function runMerge(request: MergeRequest, options: RunMergeOptions): Promise<MergeReport> {
  const helper = unpackHelper(options.assetRoot);
  const { allowUnmatched, dryRun, force, verify, threads } = options;
  const asked = JSON.stringify({ ...request, allowUnmatched, dryRun, force, verify, threads });
  using written = asked.length < longestArgument ? undefined : writeDown(asked);
  const talk = await converse([options.python, join(helper, "merge.py"), written?.path ?? asked], options);
  if (talk.failure) throw talk.failure;
  const { plan, done, errors } = talk;
  if (!plan || (!dryRun && !done)) throw failed(`the helper ended without a result: ${errors.trim().split("\n").at(-1) ?? "no message"}`);
  return {
    name: request.name,
    out: request.out,
    written: done !== undefined && !done.upToDate,
    tensors: plan.tensors,
    changedTensors: plan.changed,
    sizeBytes: done?.sizeBytes ?? plan.sizeBytes,
    ...(done && { afterMs: done.afterMs, sha256: done.sha256 }),
    ...(done?.upToDate && { upToDate: true }),
    ...(plan.estimateMs !== undefined && { estimateMs: plan.estimateMs }),
    ...(done?.verified && { verified: done.verified }),
    coverage: plan.coverage,
    ...(plan.leftOut.length > 0 && { leftOut: plan.leftOut }),
  };
}

/** Linux gives an argument 128 KiB at most: some hundreds of LoRAs. */
const longestArgument = 100_000;

function writeDown(text: string): Disposable & { readonly path: string } {
  const folder = mkdtempSync(join(tmpdir(), "fettle-merge-"));
  const path = join(folder, "request.json");
  writeFileSync(path, text);
  return { path, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}

interface Talk {
  plan?: Extract<HelperLine, { type: "plan" }>;
  done?: Extract<HelperLine, { type: "done" }>;
  failure?: FettleError;
  errors: string;
}

async function converse(argv: readonly string[], { env, signal, onProgress }: RunMergeOptions): Promise<Talk> {
  const talk: Talk = { errors: "" };
  const take = (line: HelperLine) => {
    if (line.type === "plan") talk.plan = line;
    else if (line.type === "done") talk.done = line;
    else if (line.type === "progress") onProgress?.(line.doneBytes, line.totalBytes);
    else talk.failure = toError(line, argv[0] ?? "");
  };
  const lines = new LineSplitter(
    (block) =>
      block
        .toString("utf8")
        .split("\n")
        .filter(Boolean)
        .forEach((text) => take(JSON.parse(text) as HelperLine)),
    { maxBytes: 16_000_000 },
  );
  const spawned = await spawnChild({
    argv,
    // The helper asks nobody for anything: it needs no tokens.
    env: Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined && !isSecretName(entry[0]))),
    onOutput(stream, chunk) {
      if (stream === "stdout") lines.push(chunk);
      else talk.errors = (talk.errors + chunk.toString("utf8")).slice(-8000);
      return undefined;
    },
  });
  if (spawned.type === "spawn-failed")
    throw new FettleError("machine.missing-program", `Cannot merge: ${spawned.reason}.`, { hint: "Install Python 3, or name one with FETTLE_PYTHON." });
  const { child } = spawned;
  // SIGTERM lets the helper remove its unfinished file.
  const end = () => tell(-child.pid, "SIGTERM");
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  await Promise.all([child.exited, child.drained]);
  signal.removeEventListener("abort", end);
  lines.flush();
  return talk;
}

function unpackHelper(root: string): string {
  try {
    return unpackFiles(root, "merge", helperFiles);
  } catch (error) {
    throw new FettleError("machine.state-dir", `Cannot unpack the merge helper into ${root}: ${reasonOf(error)}.`, { cause: error });
  }
}

function toError({ code, reason, hint, missing, details }: Extract<HelperLine, { type: "error" }>, python: string): FettleError {
  if (missing !== undefined)
    return new FettleError("machine.missing-program", `Cannot merge: ${reason}.`, {
      hint: `Run \`${python} -m pip install ${missing}\`, or name another Python with FETTLE_PYTHON.`,
    });
  const known = helperErrorCodes.find((one) => one === code);
  return failed(reason, hint ?? undefined, details, known);
}

const failed = (reason: string, hint?: string, details?: Readonly<Record<string, unknown>>, code: HelperErrorCode = "merge.failed"): FettleError =>
  // A reason may hold names from files that anybody made.
  new FettleError(code, `Cannot merge: ${printable(reason).replace(/\.$/, "")}.`, {
    ...(hint !== undefined && { hint }),
    ...(details && { details }),
  });
