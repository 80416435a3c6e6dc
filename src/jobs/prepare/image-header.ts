/** What an image file says of itself in its first bytes. Sides are left out where the format hides them too deep (AVIF at times, TIFF). */
export interface ImageHeader {
  readonly mime: string;
  readonly width?: number;
  readonly height?: number;
}

/** This much of a file is enough; only a JPEG with more than that before its picture needs more. */
export const headerBytes = 65_536;

/**
 * Recognises the formats that engines open, from content alone. Own code, because the input is hostile: the libraries for this walk byte
 * by byte through what they cannot read. Here each step is bounded by a marker or a box.
 */
export function readImageHeader(bytes: Buffer): ImageHeader | undefined {
  const has = (text: string, at = 0) => bytes.length >= at + text.length && bytes.toString("latin1", at, at + text.length) === text;
  const sized = (mime: string, width: number, height: number): ImageHeader | undefined => (width > 0 && height > 0 ? { mime, width, height } : undefined);
  if (has("\x89PNG\r\n\x1a\n")) return bytes.length >= 24 && has("IHDR", 12) ? sized("image/png", bytes.readUInt32BE(16), bytes.readUInt32BE(20)) : undefined;
  if (has("\xff\xd8\xff")) return readJpeg(bytes);
  if (has("GIF87a") || has("GIF89a")) return bytes.length >= 10 ? sized("image/gif", bytes.readUInt16LE(6), bytes.readUInt16LE(8)) : undefined;
  if (has("RIFF") && has("WEBP", 8)) return readWebp(bytes);
  if (has("BM") && bytes.length >= 26 && bytes.readUInt32LE(14) >= 12) return readBmp(bytes);
  if (has("ftyp", 4) && /avif|avis/.test(bytes.toString("latin1", 8, Math.min(bytes.readUInt32BE(0), 64, bytes.length)))) return readAvif(bytes);
  if (has("II*\0") || has("MM\0*")) return { mime: "image/tiff" };
  return undefined;

  function readBmp(bmp: Buffer) {
    if (bmp.readUInt32LE(14) === 12) return sized("image/bmp", bmp.readUInt16LE(18), bmp.readUInt16LE(20));
    // A negative height means rows from the top.
    return sized("image/bmp", bmp.readInt32LE(18), Math.abs(bmp.readInt32LE(22)));
  }

  function readWebp(webp: Buffer) {
    if (webp.length < 30) return undefined;
    if (has("VP8 ", 12)) return sized("image/webp", webp.readUInt16LE(26) & 0x3fff, webp.readUInt16LE(28) & 0x3fff);
    if (has("VP8X", 12)) return sized("image/webp", webp.readUIntLE(24, 3) + 1, webp.readUIntLE(27, 3) + 1);
    if (!has("VP8L", 12) || webp[20] !== 0x2f) return undefined;
    const bits = webp.readUInt32LE(21);
    return sized("image/webp", (bits & 0x3fff) + 1, ((bits >>> 14) & 0x3fff) + 1);
  }

  function readAvif(avif: Buffer): ImageHeader {
    const at = avif.subarray(0, headerBytes).indexOf("ispe");
    return (
      (at > 0 && avif.length >= at + 16 ? sized("image/avif", avif.readUInt32BE(at + 8), avif.readUInt32BE(at + 12)) : undefined) ?? { mime: "image/avif" }
    );
  }

  function readJpeg(jpeg: Buffer) {
    for (let at = 2; at + 9 <= jpeg.length;) {
      const marker = jpeg[at + 1] as number;
      if (jpeg[at] !== 0xff) return undefined;
      if (marker === 0xff) at += 1;
      else if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd7)) at += 2;
      else if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker))
        return sized("image/jpeg", jpeg.readUInt16BE(at + 7), jpeg.readUInt16BE(at + 5));
      else if (marker === 0xd9 || marker === 0xda) return undefined;
      else at += 2 + Math.max(2, jpeg.readUInt16BE(at + 2));
    }
    return undefined;
  }
}
