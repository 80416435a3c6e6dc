import { closeSync, fstatSync, openSync, read } from "node:fs";
import { promisify } from "node:util";

const readAt = promisify(read);
const newline = 0x0a;
const stepBytes = 65_536;
/** Never more than this of a log is read back. */
const maxBytes = 4 << 20;

/** The last lines of a log file as it stands at the moment of the call; empty when there is no file yet. */
export function readTail(path: string, lines: number): Promise<Buffer> {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return Promise.resolve(Buffer.alloc(0));
  }
  return readLast(fd, fstatSync(fd).size, lines).finally(() => closeSync(fd));
}

async function readLast(fd: number, size: number, lines: number): Promise<Buffer> {
  let tail: Buffer = Buffer.alloc(0);
  if (lines === 0) return tail;
  for (let at = size; at > 0 && tail.length < maxBytes;) {
    const step = Math.min(stepBytes, at);
    at -= step;
    const block = Buffer.alloc(step);
    const { bytesRead } = await readAt(fd, block, 0, step, at);
    tail = Buffer.concat([block.subarray(0, bytesRead), tail]);
    const start = startOfLast(tail, lines);
    if (start > 0) return tail.subarray(start);
  }
  return tail;
}

/** Where the last `lines` lines begin, or 0 when there are not more than that. */
function startOfLast(bytes: Buffer, lines: number): number {
  let at = bytes.at(-1) === newline ? bytes.length - 1 : bytes.length;
  for (let found = 0; found < lines; found++) {
    if (at <= 0) return 0;
    at = bytes.lastIndexOf(newline, at - 1);
    if (at < 0) return 0;
  }
  return at + 1;
}
