import { stripVTControlCharacters } from "node:util";
import { reasonOf } from "../errors/fettle-error.ts";
import { DirectLog } from "./direct-log.ts";
import { LineSplitter } from "./line-splitter.ts";
import { type LogFile, rotation } from "./log-file.ts";
import { LogFiles } from "./log-files.ts";

export interface OutputOptions {
  readonly logFile: string;
  /** Called with each line for the container's own log; absent: not mirrored. */
  readonly onLine?: ((line: string) => void) | undefined;
  /** The program writes its file itself; no line is mirrored or listened to. */
  readonly direct?: boolean | undefined;
  /** Where log files are shared with other services; default: with nobody. */
  readonly files?: LogFiles;
  /** Takes what must not be seen out of a block, before anybody gets it. */
  mask?(block: Buffer): Buffer;
  onTrouble(reason: string): void;
}

/** Lines kept in memory for errors, pages and the end of a service, and how far back they are looked for. */
const keptLines = 50;
const keptChars = 4000;
const keptBytes = 65_536;

/** Where a service's output goes: its file word for word, its last lines in memory, the console, and whoever listens. */
export class Output {
  readonly #files: LogFiles;
  readonly #file: LogFile;
  readonly #direct: DirectLog | undefined;
  readonly #options: OutputOptions;
  readonly #splitters: Readonly<Record<"stdout" | "stderr", LineSplitter>>;
  readonly #listeners = new Set<(line: string) => void>();
  readonly #followers = new Set<(block: Buffer) => void>();
  #last: Buffer[] = [];
  #lastBytes = 0;
  #hold: Promise<void> | undefined;

  constructor(options: OutputOptions) {
    this.#options = options;
    this.#files = options.files ?? new LogFiles();
    this.#file = this.#files.use(options.logFile, { onTrouble: options.onTrouble });
    this.#direct = options.direct ? new DirectLog(options.logFile, rotation) : undefined;
    const splitter = () => {
      const stream = new LineSplitter((block) => this.#take(block, stream));
      return stream;
    };
    this.#splitters = { stdout: splitter(), stderr: splitter() };
  }

  /** At most 50, without colour codes; overlong ones cut. Made only when somebody looks: the bytes pass here for every service. */
  get lastLines(): readonly string[] {
    return (this.#direct ? [this.#direct.end(keptBytes)] : this.#last)
      .flatMap(linesOf)
      .slice(-keptLines)
      .map((line) => stripVTControlCharacters(visible(line)).slice(0, keptChars));
  }

  /** What the next child shall write to instead of pipes, to be closed once it has it; undefined: pipes. */
  openDirect(): number | undefined {
    try {
      return this.#direct?.open();
    } catch (error) {
      this.#options.onTrouble(reasonOf(error));
      return undefined;
    }
  }

  /** Takes bytes of one of the two streams; a returned promise asks to wait. */
  push(stream: "stdout" | "stderr", chunk: Buffer): Promise<void> | undefined {
    this.#hold = undefined;
    this.#splitters[stream].push(chunk);
    return this.#hold;
  }

  /** At the end of a child: what had no line end counts as a line. Resolves when the file has it. */
  async endChild(): Promise<void> {
    for (const stream of Object.values(this.#splitters)) {
      stream.flush();
      this.#file.endLine(stream);
    }
    await this.#file.flush();
  }

  /** At the start of a child: errors show its own lines, not those of the one before. */
  beginChild(): void {
    this.#last = [];
    this.#lastBytes = 0;
    this.#listeners.clear();
  }

  /** Lines of the current child from now on, without colour codes. */
  listen(listener: (line: string) => void): void {
    this.#listeners.add(listener);
  }

  /** Raw blocks from now on; the returned function ends that. */
  follow(follower: (block: Buffer) => void): () => void {
    if (this.#direct) return this.#direct.follow(follower);
    this.#followers.add(follower);
    return () => void this.#followers.delete(follower);
  }

  /** Resolves when the file has everything. More may have come by the time the caller goes on: then `isFlushed` is false. */
  flush(): Promise<void> {
    return this.#file.flush();
  }

  get isFlushed(): boolean {
    return this.#file.isFlushed;
  }

  close(): Promise<void> {
    return this.#files.release(this.#file);
  }

  #take(bytes: Buffer, stream: object): void {
    const block = this.#options.mask?.(bytes) ?? bytes;
    this.#hold = this.#file.write(block, stream) ?? this.#hold;
    for (const follower of this.#followers) follower(block);
    this.#keep(block);
    const { onLine } = this.#options;
    if (onLine === undefined && this.#listeners.size === 0) return;
    for (const line of linesOf(block)) {
      const text = visible(line);
      onLine?.(text);
      if (this.#listeners.size === 0) continue;
      const plain = stripVTControlCharacters(text);
      for (const listener of this.#listeners) listener(plain);
    }
  }

  #keep(block: Buffer): void {
    this.#last.push(block);
    this.#lastBytes += block.length;
    for (let first = this.#last[0]; first && this.#lastBytes - first.length >= keptBytes; first = this.#last[0]) {
      this.#last.shift();
      this.#lastBytes -= first.length;
    }
  }
}

function linesOf(block: Buffer): string[] {
  const lines = block.toString("utf8").split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** A progress bar draws one line many times over; a person would see only its last state. */
function visible(line: string): string {
  const text = line.endsWith("\r") ? line.slice(0, -1) : line;
  return text.slice(text.lastIndexOf("\r") + 1);
}
