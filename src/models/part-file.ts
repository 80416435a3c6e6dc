import type { Buffer } from "node:buffer";
import { type FileHandle, open, readFile, rm, stat } from "node:fs/promises";
import { z } from "zod";
import { writeFileAtomic } from "../util/atomic-write.ts";
import { FollowHash } from "./follow-hash.ts";
import type { Found } from "./probe.ts";

/** A stretch of the file that one connection fetches; `end` is undefined where nobody knows the size. */
export interface Piece {
  readonly start: number;
  readonly end: number | undefined;
  done: number;
}

const state = z.object({
  version: z.literal(1),
  sizeBytes: z.number(),
  sha256: z.string().optional(),
  validator: z.string().optional(),
  pieces: z.array(z.object({ start: z.number(), end: z.number(), done: z.number() })),
});

const saveEveryBytes = 128 * 1024 * 1024;
const mostPieces = 256;

/**
 * An unfinished download: the bytes, and beside them which of them are there. The note never runs ahead of the disk: bytes are flushed first,
 * so after a crash of the machine, too, what is noted is there.
 */
export class PartFile implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #found: Found;
  readonly hash: FollowHash;
  pieces: Piece[];
  /** Some bytes come from an earlier run. */
  readonly resumed: boolean;
  #unsaved = 0;
  #saving: Promise<void> | undefined;

  private constructor(path: string, file: FileHandle, found: Found, pieces: Piece[]) {
    this.#path = path;
    this.#file = file;
    this.#found = found;
    this.pieces = pieces;
    this.resumed = pieces.some(({ done }) => done > 0);
    this.hash = new FollowHash(path);
  }

  /** Goes on with what lies there when it is the same file by hash or validator, else begins. */
  static async open(path: string, found: Found, { smallestPartBytes, connections }: { smallestPartBytes: number; connections: number }): Promise<PartFile> {
    const earlier = await readState(path, found);
    const file = await open(path, earlier ? "r+" : "w+", 0o644);
    return new PartFile(path, file, found, earlier ?? cut(found, smallestPartBytes, connections));
  }

  /** How much is there of the same file; 0 when nothing can be used. */
  static async doneBytes(path: string, found: Found): Promise<number> {
    return sum(await readState(path, found));
  }

  get doneBytes(): number {
    return sum(this.pieces);
  }

  async write(piece: Piece, chunk: Buffer): Promise<void> {
    let at = 0;
    while (at < chunk.length) at += (await this.#file.write(chunk, at, chunk.length - at, piece.start + piece.done + at)).bytesWritten;
    piece.done += chunk.length;
    this.hash.advance(this.#frontier());
    this.#unsaved += chunk.length;
    if (this.#unsaved >= saveEveryBytes && !this.#saving) this.#saving = this.#trySave();
    // The disk sets the pace: what a crash can lose stays small.
    if (this.#unsaved >= 2 * saveEveryBytes) await this.#saving;
  }

  /** Without its note a download only begins anew after a crash. */
  async #trySave(): Promise<void> {
    await this.save().catch(() => undefined);
    this.#saving = undefined;
  }

  /** Flushes, then notes what is there. */
  async save(): Promise<void> {
    const { sizeBytes, sha256, validator, ranges } = this.#found;
    if (sizeBytes === undefined || !ranges || (!sha256 && !validator)) return;
    const pieces = this.pieces.map((piece) => ({ ...piece }));
    this.#unsaved = 0;
    await this.#file.sync();
    writeFileAtomic(noteOf(this.#path), JSON.stringify({ version: 1, sizeBytes, sha256, validator, pieces }));
  }

  /** For a server that sends only the whole: its next answer begins at 0. */
  async startOver(): Promise<void> {
    await this.hash.restart();
    for (const piece of this.pieces) piece.done = 0;
  }

  /** Whole and on the disk; gives its size and hash. */
  async finish(): Promise<{ readonly sizeBytes: number; readonly sha256: string }> {
    await this.#saving;
    const sizeBytes = this.doneBytes;
    await this.#file.truncate(sizeBytes);
    await this.#file.sync();
    return { sizeBytes, sha256: await this.hash.digest(sizeBytes) };
  }

  async discard(): Promise<void> {
    await Promise.all([rm(this.#path, { force: true }), rm(noteOf(this.#path), { force: true })]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#saving;
    await this.#file.close();
  }

  #frontier(): number {
    let at = 0;
    for (const { start, end, done } of this.pieces) {
      at = start + done;
      if (end === undefined || at < end) break;
    }
    return at;
  }
}

export const noteOf = (path: string): string => `${path}.json`;

const sum = (pieces: readonly Piece[] | undefined): number => (pieces ?? []).reduce((total, { done }) => total + done, 0);

function cut({ sizeBytes, ranges }: Found, smallestBytes: number, connections: number): Piece[] {
  if (sizeBytes === undefined || !ranges) return [{ start: 0, end: sizeBytes, done: 0 }];
  // Several for each connection, so that a slow one does not hold up the end.
  const pieceBytes = Math.max(smallestBytes, Math.ceil(sizeBytes / Math.min(mostPieces, connections * 4)));
  const count = Math.max(1, Math.ceil(sizeBytes / pieceBytes));
  return Array.from({ length: count }, (_, index) => ({ start: index * pieceBytes, end: Math.min(sizeBytes, (index + 1) * pieceBytes), done: 0 }));
}

async function readState(path: string, found: Found): Promise<Piece[] | undefined> {
  try {
    const noted = state.parse(JSON.parse(await readFile(noteOf(path), "utf8")));
    const same = found.sha256
      ? noted.sha256 === found.sha256
      : noted.sha256 === undefined && noted.validator !== undefined && noted.validator === found.validator;
    if (!same || !found.ranges || noted.sizeBytes !== found.sizeBytes) return undefined;
    const { size } = await stat(path);
    let at = 0;
    for (const { start, end, done } of noted.pieces) {
      if (start !== at || done < 0 || start + done > end || (done > 0 && start + done > size)) return undefined;
      at = end;
    }
    return at === noted.sizeBytes ? noted.pieces : undefined;
  } catch {
    return undefined;
  }
}
