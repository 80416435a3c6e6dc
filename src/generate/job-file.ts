import { closeSync, createWriteStream, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";

/** One line of a file: where its bytes are. */
export interface Line {
  /** From 1, blank lines counted. */
  readonly number: number;
  readonly offset: number;
  readonly sizeBytes: number;
}

/** A file of jobs, opened once; a file that is replaced meanwhile does not change what is read. */
export interface JobFile extends Disposable {
  /** For messages: the path as typed, or `stdin`. */
  readonly name: string;
  readonly sizeBytes: number;
  read(offset: number, sizeBytes: number): Buffer;
  /** Its lines that are not blank. */
  lines(): Generator<Line & { readonly bytes: Buffer }>;
}

const chunkBytes = 1_048_576;

/** Opens a file; `-` is stdin, kept in `spoolDir` so that a job is read when it is its turn. */
export async function openJobFile(path: string, { spoolDir, signal }: { spoolDir: string; signal: AbortSignal }): Promise<JobFile> {
  const name = path === "-" ? "stdin" : path;
  let fd: number;
  try {
    const spooled = join(spoolDir, "stdin");
    if (path === "-") await pipeline(process.stdin, createWriteStream(spooled, { mode: 0o600 }), { signal });
    fd = openSync(path === "-" ? spooled : path, "r");
    if (fstatSync(fd).isDirectory()) throw new Error("it is a folder");
  } catch (error) {
    signal.throwIfAborted();
    throw new FettleError("cli.bad-value", `Cannot read the job ${path}: ${reasonOf(error)}.`, { cause: error });
  }
  const sizeBytes = fstatSync(fd).size;
  const read = (offset: number, wanted: number) => {
    const bytes = Buffer.allocUnsafe(Math.max(0, wanted));
    let got = 0;
    for (let count = -1; got < wanted && count !== 0; got += count) count = readSync(fd, bytes, got, wanted - got, offset + got);
    return bytes.subarray(0, got);
  };
  return {
    name,
    sizeBytes,
    read,
    lines: () => linesOf(read),
    [Symbol.dispose]: () => closeSync(fd),
  };
}

function* linesOf(read: (offset: number, sizeBytes: number) => Buffer): Generator<Line & { readonly bytes: Buffer }> {
  let number = 0;
  let pieces: Buffer[] = [];
  let start = 0;
  const line = function* (end: number) {
    number += 1;
    const bytes = Buffer.concat(pieces);
    // Space, tab, CR, and the mark that some editors put at a file's begin.
    if (!/^(?:\xef\xbb\xbf)?[ \t\r]*$/.test(bytes.subarray(0, 4096).toString("latin1")) || bytes.length > 4096)
      yield { number, offset: start, sizeBytes: end - start, bytes };
  };
  for (let at = 0; ;) {
    const chunk = read(at, chunkBytes);
    let from = 0;
    for (let to = chunk.indexOf(10); to >= 0; to = chunk.indexOf(10, from)) {
      pieces.push(chunk.subarray(from, to));
      yield* line(at + to);
      pieces = [];
      from = to + 1;
      start = at + from;
    }
    if (from < chunk.length) pieces.push(chunk.subarray(from));
    at += chunk.length;
    if (chunk.length > 0) continue;
    if (pieces.length > 0) yield* line(at);
    return;
  }
}
