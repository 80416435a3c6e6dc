import { randomUUID } from "node:crypto";
import { copyFileSync, readFileSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import type { FileSourceConfig } from "../../config/schema/sources.ts";
import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import type { Log } from "../../log/log.ts";
import { type EnvelopeLimits, parseEnvelope } from "../envelope.ts";
import type { JobInput } from "../job.ts";
import type { Delivery, Lease, Source } from "../source.ts";
import type { TerminalResult, TerminalStatus } from "../terminal-result.ts";

export interface FileSourceParts {
  readonly config: FileSourceConfig;
  readonly limits: EnvelopeLimits;
  readonly log: Log;
  /** The file's job has ended. */
  readonly onEnd: (status: TerminalStatus) => void;
}

/** The local loop: one job from `test_input.json`; its result goes into `test_output.json` beside it. */
export class FileSource implements Source {
  readonly name = "file";
  readonly takeWhen = "always";
  readonly concurrency = 1;
  readonly canRelease = false;
  readonly onRepeat = "run";
  readonly #parts: FileSourceParts;
  #isTaken = false;

  constructor(parts: FileSourceParts) {
    this.#parts = parts;
  }

  async open(): Promise<void> {}

  async lease({ signal }: { signal: AbortSignal }): Promise<Lease | null> {
    if (this.#isTaken || signal.aborted) return null;
    return this.adopt(this.#read());
  }

  adopt(job: JobInput): Lease {
    this.#isTaken = true;
    return { job, signal: new AbortController().signal };
  }

  async deliver({ job }: Lease, result: TerminalResult): Promise<Delivery> {
    const target = outputPath(this.#parts.config.path);
    try {
      copyFileSync(result.bodyPath, `${target}.tmp`);
      renameSync(`${target}.tmp`, target);
    } catch (error) {
      return { type: "undelivered", message: `Cannot write ${target}: ${reasonOf(error)}.` };
    } finally {
      this.#parts.onEnd(result.status);
    }
    const say = result.status === "COMPLETED" ? this.#parts.log.success : this.#parts.log.error;
    say(`The job of ${this.#parts.config.path} ended as ${result.status}; its result is in ${target}.`, { job: job.id });
    return { type: "delivered" };
  }

  async release(): Promise<boolean> {
    return false;
  }

  async close(): Promise<void> {}

  #read(): JobInput {
    const { path } = this.#parts.config;
    let text: string;
    try {
      text = readFileSync(path, "utf8");
    } catch (error) {
      throw new FettleError("job.invalid", `Cannot read the job ${path}: ${reasonOf(error)}.`, { where: { file: path }, cause: error });
    }
    const envelope = parseEnvelope(text, this.#parts.limits);
    const common = { id: envelope.id ?? `local-${randomUUID()}`, source: this.name, receivedAt: Date.now() };
    if (envelope.type === "job") return { ...common, input: envelope.input, extra: envelope.extra };
    return { ...common, input: null, extra: {}, fault: envelope.fault };
  }
}

/** `test_input.json` → `test_output.json`; any other name gains `.output.json`. */
export function outputPath(inputPath: string): string {
  const name = inputPath.slice(inputPath.lastIndexOf("/") + 1);
  const output = /input(?=\.json$)/.test(name) ? name.replace(/input(?=\.json$)/, "output") : `${name}.output.json`;
  return join(dirname(inputPath), output);
}
