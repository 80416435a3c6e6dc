import { createHash, type Hash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import type { Artifact } from "../engines/engine.ts";

/** A piece of an answer's text. Its size is known before anything is written. */
export type AnswerPart =
  /** Bytes of another file as they are. */
  | { readonly type: "copy"; readonly path: string; readonly from: number; readonly end: number }
  | { readonly type: "text"; readonly text: string }
  /** A whole file in base64. */
  | { readonly type: "base64"; readonly path: string; readonly sizeBytes: number };

/** Divisible by three, so that base64 of one chunk needs no padding; small enough to encode well under a millisecond. */
const chunkBytes = 96 * 1024;

export function sizeOfParts(parts: readonly AnswerPart[]): number {
  return parts.reduce((sum, part) => sum + sizeOfPart(part), 0);
}

export function base64Bytes(sizeBytes: number): number {
  return Math.ceil(sizeBytes / 3) * 4;
}

function sizeOfPart(part: AnswerPart): number {
  if (part.type === "copy") return part.end - part.from;
  return part.type === "text" ? Buffer.byteLength(part.text) : base64Bytes(part.sizeBytes);
}

/** Writes the parts one after the other into a new file, a chunk at a time. */
export async function composeAnswer(path: string, parts: readonly AnswerPart[], { signal }: { signal: AbortSignal }): Promise<Artifact> {
  const target = await open(path, "wx", 0o600);
  const out = { target, hash: createHash("sha256"), sizeBytes: 0 };
  try {
    for (const part of parts) {
      if (part.type === "text") await put(out, Buffer.from(part.text));
      else await pour(out, part, signal);
    }
  } finally {
    await target.close();
  }
  return { path, mime: "application/json", sizeBytes: out.sizeBytes, sha256: out.hash.digest("hex") };
}

interface Out {
  readonly target: FileHandle;
  readonly hash: Hash;
  sizeBytes: number;
}

async function pour(out: Out, part: Exclude<AnswerPart, { type: "text" }>, signal: AbortSignal): Promise<void> {
  const [from, end] = part.type === "copy" ? [part.from, part.end] : [0, part.sizeBytes];
  const source = await open(part.path, "r");
  try {
    const buffer = Buffer.allocUnsafeSlow(Math.min(chunkBytes, Math.max(1, end - from)));
    for (let at = from; at < end;) {
      signal.throwIfAborted();
      const length = await fill(source, buffer, at, Math.min(buffer.length, end - at));
      const bytes = buffer.subarray(0, length);
      await put(out, part.type === "copy" ? bytes : Buffer.from(bytes.toString("base64"), "latin1"));
      at += length;
    }
  } finally {
    await source.close();
  }
}

/** Reads exactly so many bytes: a short read in the middle would put padding into the base64. */
async function fill(source: FileHandle, buffer: Buffer, position: number, wanted: number): Promise<number> {
  for (let have = 0; have < wanted;) {
    const { bytesRead } = await source.read(buffer, have, wanted - have, position + have);
    if (bytesRead === 0) throw new Error("a file of this job became shorter while it was read");
    have += bytesRead;
  }
  return wanted;
}

async function put(out: Out, bytes: Buffer): Promise<void> {
  out.hash.update(bytes);
  out.sizeBytes += bytes.length;
  for (let at = 0; at < bytes.length;) at += (await out.target.write(bytes, at)).bytesWritten;
}
