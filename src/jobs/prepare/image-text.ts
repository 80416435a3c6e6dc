import { type ImageHeader, headerBytes, readImageHeader } from "./image-header.ts";

/** An image as text: as engines take it, and what it says of itself; or why it is none (the end of a sentence about the field). */
export type ImageText = { readonly type: "image"; readonly text: string; readonly header: ImageHeader } | { readonly type: "none"; readonly reason: string };

export interface ImageLimits {
  readonly maxPixels: number;
}

/** Enough for a moment's work; between two of them others get their turn. */
const sliceLength = 1_048_576;

/**
 * Checks base64, plain or as a data URI, of which engines understand `data:image/…;base64,` alone: other forms become plain base64.
 * What an engine can read already is returned as it is, so that the job's body stays what its caller wrote.
 */
export async function readImageText(text: string, limits: ImageLimits): Promise<ImageText> {
  const uri = /^\s*data:([^,]{0,200}),/i.exec(text);
  const usual = uri !== null && /^data:image\/[a-z0-9.+-]+;base64,$/.test(uri[0]);
  let base64 = uri ? text.slice(uri[0].length) : text;
  if (uri && !/;\s*base64\s*$/i.test(uri[1] ?? "")) return none("its data URI is not in base64");
  if (!uri && /^\s*[a-z][a-z0-9+.-]*:/i.test(text.slice(0, 40))) return none("only http:, https: and data: URLs can be read");
  if (uri && base64.includes("%")) {
    const decoded = decodePercent(base64);
    if (decoded === undefined) return none("its data URI is damaged");
    base64 = decoded;
  }
  const count = await countBase64(base64);
  if (count === undefined) return none("it is neither a URL nor base64");
  if (count.digits === 0) return none("it is empty");
  if (count.digits % 4 === 1) return none("its base64 is cut off");
  const isOdd = count.isUrlSafe || (count.digits + count.padding) % 4 !== 0;
  const header = headerOf(base64);
  if (!header) return none("it is no image (PNG, JPEG, WebP, GIF, BMP, AVIF or TIFF), or a damaged one");
  const tooLarge = pixelFault(header, limits);
  if (tooLarge !== undefined) return none(tooLarge);
  if (isOdd) return { type: "image", text: Buffer.from(base64, "base64").toString("base64"), header };
  return { type: "image", text: uri && (!usual || base64.length !== text.length - uri[0].length) ? base64 : text, header };
}

export function pixelFault({ width = 0, height = 0 }: ImageHeader, { maxPixels }: ImageLimits): string | undefined {
  return width * height > maxPixels ? `its ${width}x${height} pixels are more than ${maxPixels} (jobs.inputs.maxPixels)` : undefined;
}

/** Base64 that begins as an image does. */
export function looksLikeImage(text: string): boolean {
  return /^[A-Za-z0-9+/_-]{16}/.test(text) && readImageHeader(Buffer.from(text.slice(0, headerBytes), "base64")) !== undefined;
}

function headerOf(base64: string): ImageHeader | undefined {
  const head = Buffer.from(base64.slice(0, Math.ceil(headerBytes / 3) * 4), "base64");
  return readImageHeader(head) ?? (head.length >= headerBytes && head[0] === 0xff ? readImageHeader(Buffer.from(base64, "base64")) : undefined);
}

interface Base64Count {
  readonly digits: number;
  readonly padding: number;
  readonly isUrlSafe: boolean;
}

/** Undefined when there is anything else in it. Line breaks are fine, as they are for engines. */
async function countBase64(text: string): Promise<Base64Count | undefined> {
  const end = /[=\s]*$/.exec(text.slice(-64)) as RegExpExecArray;
  const tail = end[0];
  const bodyLength = text.length - tail.length;
  let blanks = 0;
  let isUrlSafe = false;
  for (let at = 0; at < bodyLength; at += sliceLength) {
    const slice = text.slice(at, Math.min(at + sliceLength, bodyLength));
    if (!/^[A-Za-z0-9+/]*$/.test(slice)) {
      if (!/^[A-Za-z0-9+/_\-\s]*$/.test(slice)) return undefined;
      blanks += slice.match(/\s/g)?.length ?? 0;
      isUrlSafe ||= /[-_]/.test(slice);
    }
    if (at > 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const padding = tail.replace(/\s/g, "").length;
  return padding > 2 ? undefined : { digits: bodyLength - blanks, padding, isUrlSafe };
}

function decodePercent(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function none(reason: string): ImageText {
  return { type: "none", reason };
}
