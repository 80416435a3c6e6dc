import { createHash } from "node:crypto";
import { type Diagnostic, FettleError } from "../errors/fettle-error.ts";
import { type Job, type JobBody, type JobLimits, parseJob } from "./job.ts";
import type { JobFile, Line } from "./job-file.ts";

/** One job of a list. Its text stays in the file until it runs, so a list may be larger than the memory. */
export interface ListedJob {
  /** From 1: the n-th job of the file. */
  readonly n: number;
  readonly id: string | undefined;
  /** What makes it this job: changes when its line or a flag that goes into it does. */
  readonly key: string;
  /** Reads it once more; throws when the file was changed meanwhile. */
  read(): Job;
}

export interface ListOptions {
  readonly limits: JobLimits;
  /** Fields of the command line; they win over each line's. */
  readonly overrides: JobBody;
  /** Anything else that makes another job of it. `n` is the job's number. */
  readonly salt: (n: number, id: string | undefined) => string;
}

const mostFaults = 20;

/** True when the text holds several JSON values, one a line, instead of one. */
export function hasManyLines(file: JobFile): boolean {
  const lines = file.lines();
  const first = lines.next();
  if (first.done || lines.next().done) return false;
  try {
    const value: unknown = JSON.parse(first.value.bytes.toString("utf8"));
    return typeof value === "object" && value !== null;
  } catch {
    return false;
  }
}

/** Reads one job from a whole file. */
export function readOneJob(file: JobFile, { limits, overrides }: Pick<ListOptions, "limits" | "overrides">): Job {
  if (file.sizeBytes > limits.maxInput)
    throw new FettleError("job.too-large", `Cannot accept the job: it has ${file.sizeBytes} bytes, the limit is ${limits.maxInput}.`, {
      where: { file: file.name },
    });
  const job = parseJob(textOf(file.read(0, file.sizeBytes), file.name), limits, { file: file.name });
  return { ...job, input: { ...job.input, ...overrides } };
}

/** Checks every line of a file of jobs before the first one runs; all mistakes are named together, with file, line and column. */
export function readJobList(file: JobFile, { limits, overrides, salt }: ListOptions): readonly ListedJob[] {
  const jobs: ListedJob[] = [];
  const faults: FettleError[] = [];
  const ids = new Map<string, number>();
  const twins = new Map<string, number>();
  for (const { bytes, ...line } of file.lines()) {
    if (faults.length === mostFaults) break;
    try {
      const n = jobs.length + 1;
      const { job, hash } = readLine(bytes, line, { file, limits, overrides });
      const before = job.id === undefined ? undefined : ids.get(job.id);
      if (before !== undefined) throw invalid(`the id "${job.id}" is that of line ${before} already`, file.name, line.number);
      if (job.id !== undefined) ids.set(job.id, line.number);
      const seen = createHash("sha256").update(hash).update(salt(n, job.id)).digest("hex").slice(0, 32);
      const twin = twins.get(seen) ?? 0;
      twins.set(seen, twin + 1);
      const read = () => {
        const again = readLine(file.read(line.offset, line.sizeBytes), line, { file, limits, overrides });
        if (again.hash !== hash) throw invalid("the line has been changed while other jobs ran", file.name, line.number);
        return again.job;
      };
      jobs.push({ n, id: job.id, key: twin === 0 ? seen : `${seen}-${twin}`, read });
    } catch (error) {
      if (!(error instanceof FettleError)) throw error;
      faults.push(error);
    }
  }
  const [first, ...others] = faults;
  if (first) throw withOthers(first, others);
  if (jobs.length === 0) throw new FettleError("job.invalid", `Cannot run ${file.name}: it holds no job.`, { hint: "Write one JSON object on each line." });
  return jobs;
}

function readLine(bytes: Buffer, { number }: Line, { file, limits, overrides }: { file: JobFile; limits: JobLimits; overrides: JobBody }) {
  const text = textOf(bytes, file.name, number);
  const job = parseJob(text, limits, { file: file.name, line: number });
  const whole: Job = { ...job, input: { ...job.input, ...overrides } };
  return { job: whole, hash: createHash("sha256").update(JSON.stringify(whole)).digest("hex") };
}

function textOf(bytes: Buffer, file: string, line?: number): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw invalid("it is not valid UTF-8", file, line);
  }
}

function invalid(reason: string, file: string, line?: number): FettleError {
  return new FettleError("job.invalid", `Cannot accept the job: ${reason}.`, { where: { file, ...(line !== undefined && { line, column: 1 }) } });
}

function withOthers(first: FettleError, others: readonly FettleError[]): FettleError {
  const rest = others.map(({ code, message, hint, where }): Diagnostic => ({ code, message, hint, ...(where && { where }) }));
  return new FettleError(first.code, first.message, { hint: first.hint, ...(first.where && { where: first.where }), others: rest, cause: first });
}
