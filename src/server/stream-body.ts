import { type FileHandle, open } from "node:fs/promises";
import type { TerminalResult } from "../jobs/terminal-result.ts";

const chunkBytes = 128 * 1024;

/** The head, then the result's file from its second byte on, read as the caller takes it. Undefined when the file has gone. */
export async function streamBody(
  head: Buffer,
  { bodyPath, sizeBytes }: TerminalResult,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>> | Uint8Array<ArrayBuffer> | undefined> {
  let file: FileHandle;
  try {
    file = await open(bodyPath, "r");
  } catch {
    return undefined;
  }
  if (sizeBytes <= chunkBytes) {
    try {
      const whole = new Uint8Array(head.length + sizeBytes - 1);
      whole.set(head);
      await file.read(whole, head.length, sizeBytes - 1, 1);
      return whole;
    } finally {
      await file.close();
    }
  }
  let at = 1;
  let started = false;
  return new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      async pull(controller) {
        if (!started) {
          started = true;
          return controller.enqueue(new Uint8Array(head));
        }
        const chunk = new Uint8Array(chunkBytes);
        const { bytesRead } = await file.read(chunk, 0, chunkBytes, at);
        at += bytesRead;
        if (bytesRead > 0) controller.enqueue(chunk.subarray(0, bytesRead));
        if (bytesRead < chunkBytes) {
          await file.close();
          controller.close();
        }
      },
      cancel: () => file.close(),
    },
    { highWaterMark: 1 },
  );
}
