import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import type { LoadedConfig } from "../src/config/load.ts";
import type { Progress } from "../src/engines/engine.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import { errorToJson } from "../src/errors/print.ts";
import type { Job } from "../src/generate/job.ts";
import { type JobFile, openJobFile } from "../src/generate/job-file.ts";
import { hasManyLines, type ListedJob, readJobList, readOneJob } from "../src/generate/job-list.ts";
import { openTarget } from "../src/generate/open-target.ts";
import { type OutTemplate, parseOut } from "../src/generate/out-template.ts";
import { type Outcome, runJobs } from "../src/generate/run-jobs.ts";
import { type JobResult, runOne, type RunOneParts } from "../src/generate/run-one.ts";
import { openRunState } from "../src/generate/run-state.ts";
import type { Target } from "../src/generate/target.ts";
import { type Existing, ImagePlaces } from "../src/generate/write-images.ts";
import { isObject } from "../src/jobs/envelope.ts";
import { createLog, type Log, resolveFormat } from "../src/log/log.ts";
import { exactDuration } from "../src/util/duration.ts";
import { type Args, type Command, type Io, textFlag } from "./command.ts";
import { generateFlags, readRequest, refuseManyFlags, type Request, statePath } from "./generate-flags.ts";
import { showJobsProgress, summarize } from "./generate-progress.ts";
import { configFlags, loadFromArgs } from "./load-config.ts";
import { startSpinner } from "./spinner.ts";

export const command: Command = {
  name: "generate",
  summary: "Make images from a shell or a script, no server needed",
  flags: [...generateFlags, ...configFlags],
  examples: [
    'fettle generate --prompt "a photograph of an astronaut riding a horse" --steps 25',
    "fettle generate --input test_input.json --out astronaut.png",
    "fettle generate --jobs jobs.jsonl --out 'out/{job}-{seed}-{index}.png' --resume --json",
    'fettle generate --engine-url http://127.0.0.1:8188 --workflow portrait.json --prompt "a castle"',
    'fettle generate --url http://127.0.0.1:8000 --prompt "a castle" --json',
  ],
  exits: ["1   a job failed, or no image was made in time", "3   a program is missing", "130 interrupted (143: SIGTERM); whole files only, --resume goes on"],
  run: generate,
};

/** What a run has at hand, whether it has one job or many. */
interface Run {
  readonly io: Io;
  readonly loaded: LoadedConfig;
  readonly request: Request;
  readonly log: Log;
  /** How the engine boots is shown only when asked: what counts is the image, and a failed boot is the error at the end. */
  readonly bootLog: Log;
  readonly spoolDir: string;
  readonly date: Date;
  readonly startedMs: number;
  readonly signal: AbortSignal;
}

async function generate(args: Args, io: Io): Promise<number> {
  const loaded = loadFromArgs(args, io);
  const { config } = loaded;
  const request = readRequest(args, io, config);
  const { timeoutMs } = request;
  const log = createLog({ ...config.log, secrets: [...loaded.secrets, request.apiKey].filter((secret) => secret !== "") });
  const bootLog = textFlag(args, "logLevel") === undefined ? createLog({ write: () => undefined }) : log;
  const signal = timeoutMs === undefined ? io.signal : AbortSignal.any([io.signal, AbortSignal.timeout(timeoutMs)]);
  const spoolDir = mkdtempSync(join(tmpdir(), "fettle-images-"));
  let stopCode = 130;
  const onTerm = () => void (stopCode = 143);
  process.once("SIGTERM", onTerm);
  try {
    return await runAll({ io, loaded, request, log, bootLog, spoolDir, date: new Date(), startedMs: performance.now(), signal });
  } catch (error) {
    // A job that is called off ends in many ways; why it was called off is what counts.
    if (io.signal.aborted) return interrupted(io, request, stopCode);
    if (!signal.aborted || timeoutMs === undefined) throw error;
    throw new FettleError("engine.timeout", `Cannot generate: not done after --timeout ${exactDuration(timeoutMs)}.`, { cause: error });
  } finally {
    process.removeListener("SIGTERM", onTerm);
    rmSync(spoolDir, { recursive: true, force: true });
  }
}

async function runAll(run: Run): Promise<number> {
  const { loaded, request, spoolDir, signal } = run;
  const { source, fields: overrides } = request;
  if (!source) return await runSingle(run, { id: undefined, input: overrides, extra: {} });
  using file = await openJobFile(source.path, { spoolDir, signal });
  if (source.mode === "many" || hasManyLines(file)) return await runMany(run, file);
  return await runSingle(run, readOneJob(file, { limits: loaded.config.jobs, overrides }));
}

async function runSingle(run: Run, job: Job): Promise<number> {
  const { io, request, log, startedMs } = run;
  refuseManyFlags(request);
  const out = parseOut({ out: request.out, cwd: io.cwd, many: false });
  const places = new ImagePlaces(out, existingOf(run, out));
  places.check({ isOnly: true });
  using spinner = startSpinner(request.url === undefined ? "Starting the engine" : `Asking ${request.url}`, log);
  await using target = await open(run, { many: false, onWait: (text) => spinner.update(text) });
  const bootMs = Math.round(performance.now() - startedMs);
  spinner.update("Generating");
  const onProgress = ({ fraction }: Progress) => spinner.update(`Generating, ${Math.round(fraction * 100)} %`);
  const result = await runOne(job, partsOf(run, target, places), { n: 1, onProgress });
  for (const warning of warningsOf(result)) log.warn(warning);
  const totalMs = Math.round(performance.now() - startedMs);
  spinner.succeed(`${result.images.length} ${result.images.length === 1 ? "image" : "images"} in ${(totalMs / 1000).toFixed(1)} s`);
  const { engineMs, ...rest } = result;
  if (request.json) line(io, { ...rest, timings: { ...(request.url === undefined && { bootMs }), engineMs, totalMs } });
  else printPaths(io, result);
  return 0;
}

async function runMany(run: Run, file: JobFile): Promise<number> {
  const { io, loaded, request, log, startedMs, signal } = run;
  const out = parseOut({ out: request.out, cwd: io.cwd, many: true });
  // A job whose name tells its place in the file is another one when it moves.
  const salt = (n: number, id: string | undefined) => JSON.stringify([out.text, out.has("n") || (out.has("job") && id === undefined) ? n : 0]);
  const jobs = readJobList(file, { limits: loaded.config.jobs, overrides: request.fields, salt });
  using state = openRunState(statePath(out.base, request.source?.path ?? "-"), { resume: request.resume });
  const places = new ImagePlaces(out, existingOf(run, out), state.files(new Set(jobs.map(({ key }) => key))));
  places.check();
  using progress = showJobsProgress(jobs.length, log);
  const begun = new Set<number>();
  const onEnd = (job: ListedJob, outcome: Outcome) => {
    begun.add(job.n);
    progress.end(job, outcome);
    if (request.json) line(io, outcomeLine(job, outcome));
    else if (outcome.type === "done") printPaths(io, outcome.result);
  };
  const isAllDone = jobs.every(({ key }) => state.former(key)?.type === "done");
  progress.say(request.url === undefined ? "Starting the engine" : `Asking ${request.url}`);
  await using target = isAllDone ? noTarget : await open(run, { many: true, onWait: progress.warn });
  const concurrency = target.canQueue ? (request.concurrency ?? target.slots) : Math.min(request.concurrency ?? target.slots, target.slots);
  if (request.concurrency !== undefined && concurrency < request.concurrency && !isAllDone)
    progress.warn(`The engine takes ${concurrency} at a time; --concurrency ${request.concurrency} is more.`);
  const { failFast } = request;
  const tally = await runJobs(partsOf(run, target, places), {
    jobs,
    state,
    concurrency,
    failFast,
    onEnd,
    onStart: progress.start,
    onProgress: progress.progress,
  });
  progress[Symbol.dispose]();
  if (request.json) for (const job of jobs) if (!begun.has(job.n)) line(io, { ...nameOf(job), status: "not-run" });
  const left = tally.total - tally.done - tally.skipped;
  (left > 0 ? log.error : log.success)(`${summarize(tally, performance.now() - startedMs)}.${left > 0 ? " The same command with --resume goes on." : ""}`);
  if (tally.fatal) log.error(`The other jobs were not begun: ${tally.fatal.hint}`);
  if (left > 0) signal.throwIfAborted();
  return left > 0 ? 1 : 0;
}

/** Everything was done by a former run: nothing is booted, nobody is asked. */
const noTarget: Target = {
  slots: 1,
  canQueue: false,
  run: () => Promise.reject(new Error("a job was to run on no target")),
  [Symbol.asyncDispose]: async () => undefined,
};

function open({ io, loaded, request, log, bootLog, signal }: Run, { many, onWait }: { many: boolean; onWait(text: string): void }): Promise<Target> {
  const { url, engineUrl, apiKey, workflows } = request;
  return openTarget({
    loaded,
    url,
    engineUrl,
    apiKey,
    workflows,
    many,
    signal,
    env: io.env,
    log: bootLog,
    logFormat: resolveFormat(loaded.config.log.format),
    onWait: (reason, delayMs) => (many ? onWait : log.warn)(`${url} says ${reason}; it is asked again in ${Math.ceil(delayMs / 1000)} s.`),
  });
}

function partsOf({ spoolDir, date, request, signal }: Run, target: Target, places: ImagePlaces): RunOneParts {
  return { target, places, spoolDir, date, jobTimeoutMs: request.jobTimeoutMs, signal };
}

/** A name that was typed is meant; in a folder nobody named a file. */
function existingOf({ request }: Run, out: OutTemplate): Existing {
  return request.existing ?? (out.isFolder ? "number" : "replace");
}

const nameOf = ({ n, id }: ListedJob) => ({ n, ...(id !== undefined && { job: id }) });

function outcomeLine(job: ListedJob, outcome: Outcome): object {
  const head = { ...nameOf(job), status: outcome.type };
  if (outcome.type === "failed") return { ...head, error: errorToJson(outcome.error) };
  if (outcome.type === "skipped") return { ...head, ...(isObject(outcome.record) ? outcome.record : {}) };
  if (outcome.type === "cancelled") return head;
  const { engineMs, ...rest } = outcome.result;
  return { ...head, ...rest, timings: { engineMs, totalMs: Math.round(outcome.ms) } };
}

/** What the engine said, and a name that tells another format than the file has. */
function warningsOf({ images, warnings }: JobResult): string[] {
  const said = images.flatMap(({ path, mime }) => {
    const named = mimes[extname(path).toLowerCase()];
    return named === undefined || named === mime ? [] : [`${path} holds ${mime}; write {ext} in --out for the right ending.`];
  });
  return [...warnings, ...said];
}

const mimes: Readonly<Record<string, string>> = { ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp" };

function interrupted(io: Io, { json }: Request, code: number): number {
  if (json) line(io, { error: { code: "job.cancelled", message: "Cannot finish: interrupted.", hint: "Run it again; with --jobs, --resume goes on." } });
  return code;
}

const line = (io: Io, value: object): void => io.out(`${JSON.stringify(value)}\n`);

function printPaths(io: Io, { images }: JobResult): void {
  for (const { path } of images) io.out(`${path}\n`);
}
