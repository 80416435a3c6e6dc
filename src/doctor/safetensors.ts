import type { FileHandle } from "node:fs/promises";
import { open, stat } from "node:fs/promises";
import { formatBytes } from "../util/bytes.ts";

export type WeightsAnswer =
  | { readonly type: "sane"; readonly sizeBytes: number }
  | { readonly type: "missing" }
  | { readonly type: "unreadable"; readonly reason: string }
  | { readonly type: "broken"; readonly reason: string };

/** The format allows no longer header. */
const maxHeaderBytes = 100_000_000;

/** Looks at the beginning of a weights file: enough to find what downloads leave behind, however large the file is. */
export async function inspectWeights(path: string): Promise<WeightsAnswer> {
  try {
    const { size, isFile } = await stat(path).then((found) => ({ size: found.size, isFile: found.isFile() }));
    // Opening a pipe would wait for its writer.
    if (!isFile) return { type: "broken", reason: "it is no file" };
    if (size === 0) return { type: "broken", reason: "it is empty" };
    await using file = await open(path);
    const head = Buffer.alloc(Math.min(size, 512));
    await file.read(head, 0, head.length, 0);
    const reason = disguise(head) ?? (path.endsWith(".safetensors") ? await safetensorsTrouble(file, size, head) : oldFormatTrouble(path, head));
    return reason === undefined ? { type: "sane", sizeBytes: size } : { type: "broken", reason };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return { type: "missing" };
    return { type: "unreadable", reason: code === "EACCES" ? "permission denied" : message };
  }
}

/** What a server sent instead of the file. */
function disguise(head: Buffer): string | undefined {
  const text = head.toString("latin1").trimStart();
  if (text.startsWith("version https://git-lfs")) return "it is a git-lfs pointer, not the file (run `git lfs pull`)";
  if (/^<(!doctype|html|\?xml)/i.test(text)) return "it is a web page, not weights (a link to the page, or a login)";
  if (text.startsWith("{")) return "it is JSON, most likely a server's error, not weights";
  return undefined;
}

/** Header and file size must agree: `8 + header + the last tensor's end`. */
async function safetensorsTrouble(file: FileHandle, size: number, head: Buffer): Promise<string | undefined> {
  if (size < 10) return "it is too short to be a safetensors file";
  const length = head.readBigUInt64LE(0);
  if (length < 2n || length > BigInt(maxHeaderBytes) || head[8] !== 0x7b) return "it is no safetensors file";
  const headerBytes = Number(length);
  if (size < 8 + headerBytes) return `it is cut off within its header: ${formatBytes(size)}`;
  const header = Buffer.alloc(headerBytes);
  await file.read(header, 0, headerBytes, 8);
  const end = lastEnd(header.toString("utf8"));
  if (typeof end === "string") return end;
  const wanted = 8 + headerBytes + end;
  if (size < wanted) return `it is cut off: ${size} of ${wanted} bytes`;
  return size > wanted ? `it is longer than its header says: ${size} instead of ${wanted} bytes` : undefined;
}

/** Where the last tensor ends, or the trouble with the header. */
function lastEnd(text: string): number | string {
  let header: Record<string, { data_offsets?: unknown } | null>;
  try {
    header = JSON.parse(text) as typeof header;
  } catch {
    return "its header is no JSON";
  }
  const spans = Object.entries(header).flatMap(([name, one]) => (name === "__metadata__" ? [] : [one?.data_offsets]));
  const valid = spans.filter((one): one is [number, number] => Array.isArray(one) && Number.isSafeInteger(one[0]) && Number.isSafeInteger(one[1]));
  if (valid.length < spans.length) return "its header names a tensor without a place";
  valid.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let end = 0;
  for (const [start, stop] of valid) {
    if (start !== end || stop < start) return "its tensors overlap or leave gaps";
    end = stop;
  }
  return end;
}

function oldFormatTrouble(path: string, head: Buffer): string | undefined {
  if (!/\.(ckpt|pt|pth|bin)$/.test(path)) return undefined;
  // torch.save writes a zip today, a bare pickle before version 1.6.
  return head.toString("latin1", 0, 2) === "PK" || head[0] === 0x80 ? undefined : "it is no PyTorch file";
}
