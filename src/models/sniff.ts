import type { Buffer } from "node:buffer";
import { extname } from "node:path";
import { Fault } from "./fault.ts";

export const maxHeaderBytes = 100_000_000;
/** What `sniff` wants to see of a file, at most. */
export const headBytes = 1024;

/** Refuses what is no weight file by its first bytes: a login page, an error as JSON, a git-lfs pointer. `from` is a host or a path. */
export function sniff(head: Buffer, fileName: string, from: string): void {
  const text = head
    .toString("latin1")
    .replace(/^\u00ef\u00bb\u00bf/, "")
    .trimStart();
  if (head.length === 0) throw new Fault("model.wrong-content", `${from} gives an empty file`);
  if (/^<(!doctype|html|head|body|script|title|\?xml|!--)/i.test(text))
    throw new Fault("model.wrong-content", `${from} gives a web page (HTML), not a model`, {
      hint: "It may be a login page, or the address of a page instead of its file.",
    });
  if (text.startsWith("version https://git-lfs"))
    throw new Fault("model.wrong-content", `${from} gives a git-lfs pointer, not the file itself`, {
      hint: "Take the file's download address (/resolve/, not /raw/).",
    });
  const extension = extname(fileName).toLowerCase();
  if (/^[[{]\s*["{[\]}]/.test(text) && extension !== ".json")
    throw new Fault("model.wrong-content", `${from} gives JSON, not a model`, { hint: "It may be an error message: open the address in a browser." });
  if (isSafetensors(fileName)) sniffSafetensors(head, from);
  else if (extension === ".gguf" && !text.startsWith("GGUF")) throw notA("GGUF", from);
  else if ([".ckpt", ".pt", ".pth", ".bin"].includes(extension) && head.readUInt8(0) !== 0x80 && !text.startsWith("PK")) throw notA("PyTorch", from);
}

export const isSafetensors = (fileName: string): boolean => /\.(safetensors|sft)$/i.test(fileName);

function sniffSafetensors(head: Buffer, from: string): void {
  const length = head.length >= 9 ? Number(head.readBigUInt64LE(0)) : 0;
  if (length < 2 || length > maxHeaderBytes || head[8] !== 0x7b) throw notA("safetensors", from);
}

const notA = (what: string, from: string): Fault => new Fault("model.wrong-content", `what ${from} gives is no ${what} file`);
