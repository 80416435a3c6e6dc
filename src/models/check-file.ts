import { Buffer } from "node:buffer";
import { type FileHandle, open } from "node:fs/promises";
import { Fault } from "./fault.ts";
import { headBytes, isSafetensors, maxHeaderBytes, sniff } from "./sniff.ts";

/** Looks at a whole file: its first bytes, and for safetensors whether header and length agree. Throws `Fault`; `from` names it in the message. */
export async function checkFile(path: string, fileName: string, from: string): Promise<void> {
  await using file = await open(path, "r");
  const { size } = await file.stat();
  sniff(await readAt(file, 0, Math.min(size, headBytes)), fileName, from);
  if (isSafetensors(fileName)) await checkSafetensors(file, size, from);
}

async function checkSafetensors(file: FileHandle, size: number, from: string): Promise<void> {
  const length = Number((await readAt(file, 0, 8)).readBigUInt64LE(0));
  if (length > maxHeaderBytes || 8 + length > size)
    throw new Fault("model.wrong-length", `what ${from} gives ends inside its header, after ${size} bytes`, {
      hint: "The file is cut off: download it again.",
    });
  const end = endOfData(await readAt(file, 8, length));
  if (end === undefined) throw new Fault("model.wrong-content", `the safetensors header of what ${from} gives is damaged`);
  if (8 + length + end === size) return;
  const short = size < 8 + length + end;
  throw new Fault("model.wrong-length", `what ${from} gives has ${size} bytes, its header says ${8 + length + end}`, {
    hint: short ? "The file is cut off: download it again." : "Something stands behind its end: this is not the original file.",
  });
}

/** The end of the last tensor; undefined when the header is no header. */
function endOfData(header: Buffer): number | undefined {
  try {
    const { __metadata__: _, ...tensors } = JSON.parse(header.toString("utf8")) as Record<string, { data_offsets: [number, number] }>;
    const spans = Object.values(tensors)
      .map(({ data_offsets: [start, end] }) => [start, end] as const)
      .toSorted((a, b) => a[0] - b[0] || a[1] - b[1]);
    let at = 0;
    for (const [start, end] of spans) {
      if (!Number.isSafeInteger(end) || start !== at || end < start) return undefined;
      at = end;
    }
    return at;
  } catch {
    return undefined;
  }
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}
