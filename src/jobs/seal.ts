import { closeSync, openSync, readSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { Artifact } from "../engines/engine.ts";

/** Up to here one synchronous write is faster than going through the thread pool, and short enough not to be felt. */
const smallBytes = 64 * 1024;
const chunkBytes = 256 * 1024;

/** A body in its file. A small one comes with its bytes: the journal keeps them too, which spares waiting for the disk twice. */
export interface Sealed {
  readonly sizeBytes: number;
  readonly small?: Uint8Array;
}

/** What a body says beside the output or the error. */
export interface Beside {
  /** The job's record as JSON, when the job said `meta: true`. */
  readonly meta?: string;
  /** RunPod passes its callers the output alone: meta goes into it, when it is an object. */
  readonly metaInside?: boolean;
  /** RunPod renews the worker after this job. */
  readonly stopPod?: boolean;
}

/** `{"output": ANSWER}`, `{"error": TEXT}`, or an error with what there is in spite of it. */
export interface Body extends Beside {
  /** One of 0 bytes is no output at all. */
  readonly output?: Artifact;
  /** Always a string: RunPod marks a job with any other kind of error as completed without output. */
  readonly error?: string;
}

type Piece = Buffer | { readonly path: string; readonly from: number; readonly sizeBytes: number };

/** Writes a body. A large answer is copied in chunks, never held whole, and on disk when this resolves. */
export async function seal(path: string, body: Body): Promise<Sealed> {
  const pieces = layOut(body);
  const sizeBytes = pieces.reduce((sum, piece) => sum + (Buffer.isBuffer(piece) ? piece.length : piece.sizeBytes), 0);
  if (sizeBytes <= smallBytes) return writeSmall(path, Buffer.concat(pieces.map((piece) => (Buffer.isBuffer(piece) ? piece : readPiece(piece)))));
  const target = await open(path, "w", 0o600);
  try {
    for (const piece of pieces) {
      if (Buffer.isBuffer(piece)) await writeAll(target, piece, piece.length);
      else await copyPiece(piece, target);
    }
    await target.datasync();
    return { sizeBytes };
  } finally {
    await target.close();
  }
}

/** Writes a body that has no output, at once. */
export function sealError(path: string, error: string, beside: Beside = {}): Sealed {
  return writeSmall(path, Buffer.concat(layOut({ error, ...beside }) as Buffer[]));
}

/** What the caller must see stands first. */
function layOut({ output, error, meta, metaInside = false, stopPod = false }: Body): Piece[] {
  const members: Piece[][] = [];
  let metaLeft = meta;
  if (error !== undefined) members.push([Buffer.from(`"error":${JSON.stringify(error)}`)]);
  if (output && output.sizeBytes > 0) {
    const object = metaInside && metaLeft !== undefined ? openObject(output) : undefined;
    if (object) {
      const inside = Buffer.from(`"output":{"meta":${metaLeft}${object.isEmpty ? "" : ","}`);
      members.push([inside, { path: output.path, from: object.from, sizeBytes: output.sizeBytes - object.from }]);
      metaLeft = undefined;
    } else members.push([Buffer.from('"output":'), { path: output.path, from: 0, sizeBytes: output.sizeBytes }]);
  }
  if (metaLeft !== undefined) members.push([Buffer.from(`"meta":${metaLeft}`)]);
  if (stopPod) members.push([Buffer.from('"stopPod":true')]);
  return [Buffer.from("{"), ...members.flatMap((member, index) => (index > 0 ? [Buffer.from(","), ...member] : member)), Buffer.from("}")];
}

/** Where an answer's object begins behind its brace; undefined when it is a list, a string or the like. */
function openObject({ path, sizeBytes }: Artifact): { readonly from: number; readonly isEmpty: boolean } | undefined {
  const start = readPiece({ path, from: 0, sizeBytes: Math.min(sizeBytes, 4096) }).toString("latin1");
  const brace = /^[ \t\r\n]*\{/.exec(start)?.[0].length;
  return brace === undefined ? undefined : { from: brace, isEmpty: /^[ \t\r\n]*\}/.test(start.slice(brace)) };
}

function readPiece({ path, from, sizeBytes }: Exclude<Piece, Buffer>): Buffer {
  const file = openSync(path, "r");
  try {
    const buffer = Buffer.alloc(sizeBytes);
    for (let at = 0; at < sizeBytes;) {
      const read = readSync(file, buffer, at, sizeBytes - at, from + at);
      if (read === 0) throw new Error(`${path} is shorter than it was`);
      at += read;
    }
    return buffer;
  } finally {
    closeSync(file);
  }
}

async function copyPiece({ path, from, sizeBytes }: Exclude<Piece, Buffer>, target: FileHandle): Promise<void> {
  const source = await open(path, "r");
  try {
    const buffer = Buffer.allocUnsafeSlow(chunkBytes);
    for (let at = 0; at < sizeBytes;) {
      const { bytesRead } = await source.read(buffer, 0, Math.min(chunkBytes, sizeBytes - at), from + at);
      if (bytesRead === 0) throw new Error(`${path} is shorter than it was`);
      await writeAll(target, buffer, bytesRead);
      at += bytesRead;
    }
  } finally {
    await source.close();
  }
}

async function writeAll(target: FileHandle, buffer: Buffer, length: number): Promise<void> {
  for (let at = 0; at < length;) at += (await target.write(buffer, at, length - at)).bytesWritten;
}

/** Also puts a small body back that a power cut took from its file. */
export function writeSmall(path: string, body: Uint8Array): Sealed {
  writeFileSync(path, body, { mode: 0o600 });
  return { sizeBytes: body.length, small: body };
}
