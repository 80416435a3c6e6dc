import { open } from "node:fs/promises";

const newline = 0x0a;
const stepBytes = 65_536;
/** Never more than this of a log is read back. */
const maxBytes = 4 << 20;

/** The last lines of a log file as they stand; empty when there is no file yet. */
export async function readTail(path: string, lines: number): Promise<Buffer> {
  const file = await open(path, "r").catch(() => undefined);
  if (!file) return Buffer.alloc(0);
  try {
    const { size } = await file.stat();
    let tail = Buffer.alloc(0);
    for (let at = size; at > 0 && tail.length < maxBytes;) {
      const step = Math.min(stepBytes, at);
      at -= step;
      const block = Buffer.alloc(step);
      await file.read(block, 0, step, at);
      tail = Buffer.concat([block, tail]);
      const start = startOfLast(tail, lines);
      if (start > 0) return tail.subarray(start);
    }
    return lines === 0 ? Buffer.alloc(0) : tail;
  } finally {
    await file.close();
  }
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
