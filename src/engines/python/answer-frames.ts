/** What the child says about a job, in its order; see helper/fettle_engine/server.py. */
export type AnswerFrame =
  | { readonly type: "progress"; readonly value: unknown }
  | { readonly type: "partial"; readonly value: unknown }
  | { readonly type: "slots"; readonly value: number }
  | LastFrame
  /** Bytes of the output that the last frame announced. */
  | { readonly type: "bytes"; readonly bytes: Buffer };

export type LastFrame =
  | { readonly type: "result"; readonly refresh: boolean; readonly sizeBytes?: number }
  | ErrorFrame
  | { readonly type: "cancelled"; readonly sizeBytes?: undefined };

export interface ErrorFrame {
  readonly type: "error";
  /** `unusable`: its result is no JSON. `unloaded`: the file itself is broken (only while developing). */
  readonly how: "raised" | "returned" | "unusable" | "unloaded";
  readonly message: string;
  /** The error as the caller shall get it, word for word. */
  readonly text?: string;
  readonly fault?: "out-of-memory" | "cuda-error" | null;
  readonly refresh: boolean;
  /** What did not stop the job but should be said. */
  readonly note?: string;
  readonly sizeBytes?: number;
}

/** The stream is not what the child of this version sends. */
export class FrameFault extends Error {
  override readonly name = "FrameFault";
}

const newline = 0x0a;
/** A streamed piece may be large (RunPod splits at 1 MB itself); this only bounds a stream that has no line ends at all. */
const longestLine = 256 * 1024 * 1024;

/**
 * Splits the child's answer into frames, as it comes; ends after the last frame and its output. Ends early, without a last frame,
 * when the stream does: the child is gone.
 */
export async function* readFrames(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<AnswerFrame, void> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  let bodyBytes: number | undefined;
  for await (const chunk of chunks) {
    let rest = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    while (rest.length > 0) {
      if (bodyBytes !== undefined) {
        if (rest.length > bodyBytes) throw new FrameFault("it sent more than it announced");
        bodyBytes -= rest.length;
        yield { type: "bytes", bytes: rest };
        break;
      }
      const end = rest.indexOf(newline);
      held.push(end === -1 ? rest : rest.subarray(0, end));
      heldBytes += held.at(-1)?.length ?? 0;
      if (heldBytes > longestLine) throw new FrameFault("it sent a line without an end");
      if (end === -1) break;
      rest = rest.subarray(end + 1);
      const frame = parseFrame(Buffer.concat(held));
      held = [];
      heldBytes = 0;
      if (!frame) continue;
      if (frame.type === "result" || frame.type === "error" || frame.type === "cancelled") bodyBytes = frame.sizeBytes ?? 0;
      yield frame;
    }
    if (bodyBytes === 0) return;
  }
}

const types = new Set(["progress", "partial", "slots", "result", "error", "cancelled"]);

/** Undefined for a blank line, which only says that the child lives. */
function parseFrame(line: Buffer): Exclude<AnswerFrame, { type: "bytes" }> | undefined {
  if (line.length === 0) return undefined;
  try {
    const value = JSON.parse(line.toString("utf8")) as { type?: unknown };
    if (typeof value === "object" && value !== null && types.has(String(value.type))) return value as Exclude<AnswerFrame, { type: "bytes" }>;
  } catch {
    // The same trouble.
  }
  throw new FrameFault("it sent a line that is none of its own; is this really a handler's port?");
}
