import { randomUUID } from "node:crypto";
import { copyFileSync, readFileSync, renameSync } from "node:fs";
import type { FileSourceConfig } from "../../config/schema/sources.ts";
import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import type { Log } from "../../log/log.ts";
import { pause } from "../../util/pause.ts";
import { type EnvelopeLimits, parseEnvelope } from "../envelope.ts";
import type { JobInput } from "../job.ts";
import type { Delivery, Lease, Source } from "../source.ts";
import type { TerminalResult, TerminalStatus } from "../terminal-result.ts";
import { outputPath } from "./file-output.ts";
import { stampsOf } from "./file-stamps.ts";

export interface FileSourceParts {
  readonly config: FileSourceConfig;
  readonly limits: EnvelopeLimits;
  readonly log: Log;
  /** The file's job has ended. */
  readonly onEnd: (status: TerminalStatus) => void;
}

/** So often the watched files are looked at. */
const lookMs = 300;

/**
 * The local loop: one job from `test_input.json`; its result goes into `test_output.json` beside it. With `watch` the job is read and
 * runs again after each change.
 */
export class FileSource implements Source {
  readonly name = "file";
  readonly takeWhen = "always";
  readonly concurrency = 1;
  readonly canRelease = false;
  readonly onRepeat = "run";
  readonly #parts: FileSourceParts;
  readonly #watches: boolean;
  #isTaken = false;
  /** The files as they were when the job was last read. */
  #seen = "";

  constructor(parts: FileSourceParts) {
    this.#parts = parts;
    this.#watches = parts.config.watch.length > 0 && !parts.config.exitWhenDone;
  }

  async open(): Promise<void> {}

  async lease({ signal }: { signal: AbortSignal }): Promise<Lease | null> {
    if (!this.#watches) return this.#isTaken || signal.aborted ? null : this.adopt(this.#read());
    for (; !signal.aborted; await pause(lookMs, { signal })) {
      const seen = this.#look();
      if (this.#isTaken && seen === this.#seen) continue;
      this.#isTaken = true;
      this.#seen = seen;
      try {
        return this.adopt(this.#read());
      } catch (error) {
        // Somebody is in the middle of saving it, or will mend it.
        this.#parts.log.error(reasonOf(error));
      }
    }
    return null;
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

  #look(): string {
    const { path, watch } = this.#parts.config;
    try {
      return stampsOf([path, ...watch]);
    } catch (error) {
      // A folder that vanished between two looks; the next one tells.
      return reasonOf(error);
    }
  }

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
