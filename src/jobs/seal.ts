import { readFileSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { Artifact } from "../engines/engine.ts";

const head = Buffer.from('{"output":');
const tail = Buffer.from("}");
/** Up to here one synchronous write is faster than going through the thread pool, and short enough not to be felt. */
const smallBytes = 64 * 1024;
const chunkBytes = 256 * 1024;

/** A body in its file. A small one comes with its bytes: the journal keeps them too, which spares waiting for the disk twice. */
export interface Sealed {
  readonly sizeBytes: number;
  readonly small?: Uint8Array;
}

/** Writes `{"output": ANSWER}`. A large answer is copied in chunks, never held whole, and on disk when this resolves. */
export async function sealOutput(path: string, answer: Artifact): Promise<Sealed> {
  if (answer.sizeBytes <= smallBytes) return writeSmall(path, Buffer.concat([head, readFileSync(answer.path), tail]));
  const source = await open(answer.path, "r");
  try {
    const target = await open(path, "w", 0o600);
    try {
      return { sizeBytes: await copyBetween(source, target) };
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

async function copyBetween(source: FileHandle, target: FileHandle): Promise<number> {
  const buffer = Buffer.allocUnsafeSlow(chunkBytes);
  let size = (await target.write(head)).bytesWritten;
  for (;;) {
    const { bytesRead } = await source.read(buffer, 0, chunkBytes);
    if (bytesRead === 0) break;
    size += await writeAll(target, buffer, bytesRead);
  }
  size += (await target.write(tail)).bytesWritten;
  await target.datasync();
  return size;
}

async function writeAll(target: FileHandle, buffer: Buffer, length: number): Promise<number> {
  for (let at = 0; at < length;) at += (await target.write(buffer, at, length - at)).bytesWritten;
  return length;
}

/** Writes `{"error": TEXT}`. Always a string: RunPod marks a job with any other kind of error as completed without output. */
export function sealError(path: string, text: string): Sealed {
  return writeSmall(path, Buffer.from(JSON.stringify({ error: text })));
}

/** Also puts a small body back that a power cut took from its file. */
export function writeSmall(path: string, body: Uint8Array): Sealed {
  writeFileSync(path, body, { mode: 0o600 });
  return { sizeBytes: body.length, small: body };
}
