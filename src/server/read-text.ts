import type { BodyRoom } from "./body-room.ts";

export type BodyText =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "too-large"; readonly maxBytes: number }
  | { readonly type: "no-room" }
  | { readonly type: "broken"; readonly reason: string; readonly late?: true };

/** A caller that sends nothing for so long in the middle of a body has gone. */
const idleMs = 60_000;

/** Reads a request's body as UTF-8, never more than `maxBytes` of it, and never waits for ever. */
export async function readText(request: Request, { maxBytes, room }: { maxBytes: number; room: BodyRoom }): Promise<BodyText> {
  const declared = Number(request.headers.get("content-length") ?? 0);
  if (declared > maxBytes) return { type: "too-large", maxBytes };
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = request.body?.getReader();
  try {
    for (;;) {
      const next = await nextChunk(reader);
      if (next === "late") return { type: "broken", reason: "the rest of it did not arrive", late: true };
      if (next === undefined) break;
      if (size + next.byteLength > maxBytes) return { type: "too-large", maxBytes };
      if (!room.take(next.byteLength)) return { type: "no-room" };
      size += next.byteLength;
      chunks.push(next);
    }
    const bytes = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks, size);
    return { type: "text", text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch (error) {
    // The decoder throws its own kind; everything else is the connection's.
    return { type: "broken", reason: isNotUtf8(error) ? "it is not valid UTF-8" : "the connection broke before its end" };
  } finally {
    room.give(size);
    reader?.cancel().catch(() => {});
  }
}

async function nextChunk(reader: ReadableStreamDefaultReader<Uint8Array> | undefined): Promise<Uint8Array | "late" | undefined> {
  if (!reader) return undefined;
  const late = Promise.withResolvers<"late">();
  const timer = setTimeout(() => late.resolve("late"), idleMs);
  try {
    const next = await Promise.race([reader.read(), late.promise]);
    return next === "late" ? "late" : next.done ? undefined : next.value;
  } finally {
    clearTimeout(timer);
  }
}

const isNotUtf8 = (error: unknown): boolean =>
  error instanceof TypeError && /encod|decod|UTF-8|utf-8/i.test(`${(error as NodeJS.ErrnoException).code} ${error.message}`);
