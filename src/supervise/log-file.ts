import { closeSync, constants, existsSync, fstatSync, mkdirSync, openSync, realpathSync, renameSync, rmSync, statSync, write } from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { reasonOf } from "../errors/fettle-error.ts";
import { pause } from "../util/pause.ts";
import { LineTurns } from "./line-turns.ts";

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
/** Opening a FIFO that nobody reads must not stop the whole process; files do not mind. */
const appending = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;
/** A pipe that is full is asked again after so long. */
const fullMs = 20;

/** A log: appended (never truncated), written in order without blocking, rotated at line ends without loss. Several streams may share it. */
export class LogFile {
  readonly path: string;
  readonly #options: LogFileOptions;
  readonly #turns = new LineTurns((block) => this.#enqueue(block));
  #fd: number | undefined;
  #sizeBytes = 0;
  #endsLine = true;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #gathering: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #troubled = false;
  #isMoved = false;

  constructor(path: string, options: LogFileOptions) {
    this.path = path;
    this.#options = options;
  }

  /** `stream`: whose lines these are; no line of one is cut by another's. Returns a promise only when it shall wait: the disk is behind, or another is in the middle of a line. */
  write(block: Buffer, stream: object = this): Promise<void> | undefined {
    if (!this.#turns.take(block, stream)) return this.#turns.settled(stream);
    return this.#waitingBytes > maxWaitingBytes ? this.#writing : undefined;
  }

  /** Nothing more comes of that stream for now: its last line counts as one, whether it had an end or not. */
  endLine(stream: object = this): void {
    this.#turns.end(stream);
  }

  /** Nothing that was given is still on its way to the file. */
  get isFlushed(): boolean {
    return this.#waiting.length === 0 && !this.#writing && this.#turns.isEmpty;
  }

  /** Resolves when everything given so far is in the file. */
  async flush(): Promise<void> {
    await this.#turns.settled();
    this.#begin();
    while (this.#writing) await this.#writing;
  }

  /** Somebody has moved the file away: what comes from the next line on goes to a new one of the old name. Nothing is lost, no line cut. */
  reopen(): void {
    this.#isMoved = this.#fd !== undefined;
    if (!this.#writing) this.#followMove();
  }

  async close(): Promise<void> {
    await this.flush();
    this.#closeFile();
  }

  #enqueue(block: Buffer): void {
    this.#waiting.push(block);
    this.#waitingBytes += block.length;
    if (this.#waitingBytes >= gatherBytes) this.#begin();
    else if (!this.#writing) this.#gathering ??= setTimeout(() => this.#begin(), gatherMs);
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
      this.#followMove();
    }
    // In one breath with the last look at what waits: whoever writes after this begins anew.
    this.#writing = undefined;
  }

  async #append(blocks: readonly Buffer[]): Promise<void> {
    if (this.#endsLine && this.#sizeBytes >= (this.#options.maxBytes ?? rotation.maxBytes)) this.#rotate();
    const fd = this.#openFile();
    const bytes = blocks.length === 1 ? (blocks[0] as Buffer) : Buffer.concat(blocks);
    for (let at = 0; at < bytes.length;) at += await writeSome(fd, bytes, at);
    this.#sizeBytes += bytes.length;
    this.#endsLine = bytes.at(-1) === 0x0a;
  }

  #openFile(): number {
    if (this.#fd !== undefined) return this.#fd;
    mkdirSync(dirname(this.path), { recursive: true });
    this.#fd = openSync(this.path, appending, 0o644);
    this.#sizeBytes = fstatSync(this.#fd).size;
    return this.#fd;
  }

  #closeFile(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** Only between two writes. The new file is there at once: whoever moved the old one may look for it. */
  #followMove(): void {
    const isAllWritten = this.#waiting.length === 0;
    if (!this.#isMoved || !(this.#endsLine || (isAllWritten && this.#turns.isBetweenLines))) return;
    this.#isMoved = false;
    this.#endsLine = true;
    if (isAllWritten) this.#turns.forget();
    try {
      this.#closeFile();
      this.#openFile();
    } catch (error) {
      if (!this.#troubled) this.#options.onTrouble(reasonOf(error));
      this.#troubled = true;
    }
  }

  #rotate(): void {
    // Somebody may have emptied it meanwhile (copytruncate).
    if (this.#fd !== undefined) this.#sizeBytes = fstatSync(this.#fd).size;
    if (this.#sizeBytes < (this.#options.maxBytes ?? rotation.maxBytes)) return;
    const file = rotatable(this.path);
    this.#sizeBytes = 0;
    if (file === undefined) return;
    this.#closeFile();
    rotateFiles(file, this.#options.count ?? rotation.count);
  }
}

async function writeSome(fd: number, bytes: Buffer, at: number): Promise<number> {
  try {
    return (await writeAt(fd, bytes, at, bytes.length - at, null)).bytesWritten;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
    await pause(fullMs);
    return 0;
  }
}

/** The file behind a path; undefined for /dev/stdout and whatever else is not a file of ours to rename. */
export function rotatable(path: string): string | undefined {
  const file = existsSync(path) ? realpathSync(path) : path;
  const isOurs = !/^\/(dev|proc)\//.test(path) && !/^\/(dev|proc)\//.test(file);
  return isOurs && statSync(file, { throwIfNoEntry: false })?.isFile() !== false ? file : undefined;
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
