import type { Buffer } from "node:buffer";
import { Fault, storeFault } from "./fault.ts";
import { type Opened, openUrl } from "./open-url.ts";
import type { PartFile, Piece } from "./part-file.ts";
import { type Found, refusePacked, validatorOf } from "./probe.ts";
import type { Remote } from "./providers/provider.ts";
import { retrying } from "./retrying.ts";
import type { ModelSettings } from "./settings.ts";
import { statusFault } from "./status-fault.ts";

/** The file at the source is no longer the one that the download began with. */
export class Changed extends Error {}

export interface TransferOptions {
  readonly onBytes: (count: number) => void;
  readonly onRetry: (reason: string) => void;
  readonly signal: AbortSignal;
}

/** Fetches all that is missing of a part file, over several connections where the server can send parts. Throws `Fault`, `Changed` or the signal's reason. */
export async function transfer(remote: Remote, found: Found, part: PartFile, settings: ModelSettings, options: TransferOptions): Promise<void> {
  const waiting = part.pieces.filter(({ start, end, done }) => end === undefined || start + done < end);
  // The first that fails ends the others: what they have is noted, and a new run goes on there.
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  const connection = async () => {
    for (let piece = waiting.shift(); piece; piece = waiting.shift()) await fetchPiece(piece, { remote, found, part, settings, ...options, signal });
  };
  const connections = Array.from({ length: Math.min(settings.connections, waiting.length) }, connection);
  const results = await Promise.allSettled(
    connections.map((one) =>
      one.catch((error: unknown) => {
        failed.abort();
        throw error;
      }),
    ),
  );
  const reasons = results.flatMap((one) => (one.status === "rejected" ? [one.reason as unknown] : []));
  options.signal.throwIfAborted();
  if (reasons.length > 0) throw reasons.find((one) => one instanceof Fault || one instanceof Changed) ?? reasons[0];
}

interface PieceWork extends TransferOptions {
  readonly remote: Remote;
  readonly found: Found;
  readonly part: PartFile;
  readonly settings: ModelSettings;
}

async function fetchPiece(piece: Piece, work: PieceWork): Promise<void> {
  let furthest = piece.done;
  await retrying(work.settings, work, async ({ progressed }) => {
    if (piece.end !== undefined && piece.start + piece.done >= piece.end) return;
    try {
      using opened = await openPiece(piece, work);
      await receive(piece, opened, work, () => {
        if (piece.done <= furthest) return;
        furthest = piece.done;
        progressed();
      });
    } catch (error) {
      if (error instanceof Fault && error.passing) work.onRetry(error.reason);
      throw error;
    }
  });
}

async function openPiece(piece: Piece, { remote, found, part, settings, onBytes, signal }: PieceWork): Promise<Opened> {
  if (!found.ranges && piece.done > 0) {
    onBytes(-piece.done);
    await part.startOver();
  }
  const from = piece.start + piece.done;
  const range = found.ranges
    ? { range: `bytes=${from}-${piece.end === undefined ? "" : piece.end - 1}`, ...(found.validator && { "if-range": found.validator }) }
    : {};
  const opened = await openUrl(remote.url, { authorize: (url) => remote.authorize(url), headers: range, stallMs: settings.stallMs, signal });
  try {
    check(opened, from, found, remote);
    return opened;
  } catch (error) {
    opened[Symbol.dispose]();
    throw error;
  }
}

function check(opened: Opened, from: number, found: Found, remote: Remote): void {
  const { status, response, url } = opened;
  if (status === 416) throw new Changed();
  if (status !== 200 && status !== 206) throw remote.explain(status, url.hostname) ?? statusFault(opened);
  refusePacked(opened);
  if (status === 200) {
    // The whole, though a part was asked for: the validator no longer fits, or the server stopped sending parts.
    if (found.ranges) throw new Changed();
    return;
  }
  const [, start, , total] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers["content-range"] ?? "") ?? [];
  if (!found.ranges || Number(start) !== from || (total !== "*" && Number(total) !== found.sizeBytes)) throw new Changed();
  const validator = validatorOf(opened);
  if (found.validator && validator && validator !== found.validator) throw new Changed();
}

async function receive(piece: Piece, { response, stall, url }: Opened, { part, onBytes, signal }: PieceWork, onProgress: () => void): Promise<void> {
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      stall.heard();
      const left = piece.end === undefined ? chunk.length : piece.end - piece.start - piece.done;
      const kept = chunk.subarray(0, left);
      await part.write(piece, kept).catch((error: unknown) => {
        throw storeFault(error, "the model cache");
      });
      // A slow disk is not a silent server.
      stall.heard();
      onBytes(kept.length);
      onProgress();
      if (piece.end !== undefined && piece.start + piece.done >= piece.end) return;
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Fault) throw error;
    if (stall.stalled) throw stall.fault();
    throw brokeOff(piece, url);
  }
  if (!response.complete || piece.end !== undefined) throw brokeOff(piece, url);
}

function brokeOff({ start, end, done }: Piece, { hostname }: URL): Fault {
  const of = end === undefined ? `${done} bytes` : `${done} of ${end - start} bytes`;
  return new Fault("model.unreachable", `the connection to ${hostname} broke off after ${of}`, { passing: true });
}
