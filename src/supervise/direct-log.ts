import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { rotatable, type rotation, rotateFiles } from "./log-file.ts";

/** How often a follower looks for what has been written. */
const lookMs = 200;
const stepBytes = 65_536;

/** A log that the program writes itself: its stdout and stderr are the file. It can be rotated only between two children. */
export class DirectLog {
  readonly #path: string;
  readonly #options: typeof rotation;
  /** Where the output of the current child begins. */
  #startBytes = 0;

  constructor(path: string, options: typeof rotation) {
    this.#path = path;
    this.#options = options;
  }

  /** A descriptor for the next child; close it once the child has it. Throws the system's error. */
  open(): number {
    mkdirSync(dirname(this.#path), { recursive: true });
    const file = sizeOf(this.#path) >= this.#options.maxBytes ? rotatable(this.#path) : undefined;
    if (file !== undefined) rotateFiles(file, this.#options.count);
    const fd = openSync(this.#path, "a", 0o644);
    this.#startBytes = fstatSync(fd).size;
    return fd;
  }

  /** The end of the current child's output, at most `maxBytes`. */
  end(maxBytes: number): Buffer {
    const size = sizeOf(this.#path);
    return readAt(this.#path, Math.max(this.#startBytes, size - maxBytes), size);
  }

  /** Calls with what is written from now on; the returned function ends that. */
  follow(take: (block: Buffer) => void): () => void {
    let at = sizeOf(this.#path);
    const timer = setInterval(() => {
      const size = sizeOf(this.#path);
      if (size < at) at = 0;
      for (; at < size; at += stepBytes) take(readAt(this.#path, at, Math.min(size, at + stepBytes)));
      at = size;
    }, lookMs);
    return () => clearInterval(timer);
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function readAt(path: string, start: number, end: number): Buffer {
  if (end <= start || !existsSync(path)) return Buffer.alloc(0);
  const fd = openSync(path, "r");
  try {
    const bytes = Buffer.alloc(end - start);
    return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, start));
  } finally {
    closeSync(fd);
  }
}
