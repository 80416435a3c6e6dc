import { closeSync, existsSync, fstatSync, mkdirSync, openSync, renameSync, rmSync, write } from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { reasonOf } from "../errors/fettle-error.ts";

const writeAt = promisify(write);

export interface LogFileOptions {
  /** A new file begins after this many bytes, at a line end. Default 10 MB. */
  readonly maxBytes?: number;
  /** Files in all: the current one and its older ones `.1`, `.2` …. Default 5. */
  readonly count?: number;
  /** Called once when writing fails; what cannot be written is dropped, the service goes on. */
  onTrouble(reason: string): void;
}

export const rotation = { maxBytes: 10_000_000, count: 5 };

/** Blocks waiting for the disk; above this the service is held back until the disk has caught up. */
const maxWaitingBytes = 1 << 20;
/** Small blocks are gathered for a moment: a program that writes line by line would cost a write for each. */
const gatherMs = 10;
const gatherBytes = 65_536;

/** A service's log: appended (never truncated), written in order without blocking, rotated at line ends without loss. */
export class LogFile {
  readonly path: string;
  readonly #options: LogFileOptions;
  #fd: number | undefined;
  #sizeBytes = 0;
  #endsLine = true;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #gathering: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #troubled = false;

  constructor(path: string, options: LogFileOptions) {
    this.path = path;
    this.#options = options;
  }

  /** Returns a promise only when the disk is behind; it resolves when there is room again. */
  write(block: Buffer): Promise<void> | undefined {
    this.#waiting.push(block);
    this.#waitingBytes += block.length;
    if (this.#waitingBytes >= gatherBytes) this.#begin();
    else if (!this.#writing) this.#gathering ??= setTimeout(() => this.#begin(), gatherMs);
    return this.#waitingBytes > maxWaitingBytes ? this.#writing : undefined;
  }

  /** Nothing that was given is still on its way to the file. */
  get isFlushed(): boolean {
    return this.#waiting.length === 0 && !this.#writing;
  }

  /** Resolves when everything given so far is in the file. */
  async flush(): Promise<void> {
    this.#begin();
    while (this.#writing) await this.#writing;
  }

  async close(): Promise<void> {
    await this.flush();
    this.#closeFile();
  }

  #begin(): void {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    if (this.#waiting.length > 0) this.#writing ??= this.#drain();
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const blocks = this.#waiting;
      this.#waiting = [];
      this.#waitingBytes = 0;
      try {
        await this.#append(blocks);
      } catch (error) {
        if (!this.#troubled) this.#options.onTrouble(reasonOf(error));
        this.#troubled = true;
        this.#closeFile();
      }
    }
    // In one breath with the last look at what waits: whoever writes after this begins anew.
    this.#writing = undefined;
  }

  async #append(blocks: readonly Buffer[]): Promise<void> {
    if (this.#endsLine && this.#sizeBytes >= (this.#options.maxBytes ?? rotation.maxBytes)) this.#rotate();
    const fd = this.#openFile();
    const bytes = blocks.length === 1 ? (blocks[0] as Buffer) : Buffer.concat(blocks);
    for (let at = 0; at < bytes.length;) at += (await writeAt(fd, bytes, at, bytes.length - at, null)).bytesWritten;
    this.#sizeBytes += bytes.length;
    this.#endsLine = bytes.at(-1) === 0x0a;
  }

  #openFile(): number {
    if (this.#fd !== undefined) return this.#fd;
    mkdirSync(dirname(this.path), { recursive: true });
    this.#fd = openSync(this.path, "a", 0o644);
    this.#sizeBytes = fstatSync(this.#fd).size;
    return this.#fd;
  }

  #closeFile(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #rotate(): void {
    this.#closeFile();
    rotateFiles(this.path, this.#options.count ?? rotation.count);
    this.#sizeBytes = 0;
  }
}

/** `a.log` becomes `a.log.1` and so on; the oldest of `count` files is gone. */
export function rotateFiles(path: string, count: number): void {
  const last = count - 1;
  for (let number = last - 1; number >= 0; number--) {
    const from = number === 0 ? path : `${path}.${number}`;
    // A gap in the numbers is no trouble; the file just moves when its turn comes.
    if (existsSync(from)) renameSync(from, `${path}.${number + 1}`);
  }
  if (last === 0) rmSync(path, { force: true });
}
