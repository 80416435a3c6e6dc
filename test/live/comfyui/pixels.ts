import { inflateSync } from "node:zlib";

/** The bytes of the pixels of a PNG as ComfyUI saves it: 8 bits RGB, not interlaced, with any of the five filters. */
export function pixelsOf(png: Buffer): Buffer {
  const [width, height, form] = [png.readUInt32BE(16), png.readUInt32BE(20), png.subarray(24, 29).toString("hex")];
  if (form !== "0802000000") throw new Error(`This PNG has another form than 8 bits RGB: ${form}.`);
  const packed: Buffer[] = [];
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at))
    if (png.toString("latin1", at + 4, at + 8) === "IDAT") packed.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)));
  const rows = inflateSync(Buffer.concat(packed));
  const rowBytes = width * 3;
  const out = Buffer.alloc(rowBytes * height);
  for (let at = 0; at < out.length; at++) {
    const [row, column] = [Math.floor(at / rowBytes), at % rowBytes];
    const left = column < 3 ? 0 : (out[at - 3] ?? 0);
    const above = row === 0 ? 0 : (out[at - rowBytes] ?? 0);
    const corner = row === 0 || column < 3 ? 0 : (out[at - rowBytes - 3] ?? 0);
    const predicted = [0, left, above, (left + above) >> 1, nearest(left, above, corner)][rows[row * (rowBytes + 1)] ?? 0] ?? 0;
    out[at] = (rows[row * (rowBytes + 1) + 1 + column] ?? 0) + predicted;
  }
  return out;
}

function nearest(left: number, above: number, corner: number): number {
  const guess = left + above - corner;
  const [toLeft, toAbove, toCorner] = [Math.abs(guess - left), Math.abs(guess - above), Math.abs(guess - corner)];
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

/** In steps of 256. */
export function difference(one: Buffer, other: Buffer): { readonly mean: number; readonly max: number } {
  if (one.length !== other.length) throw new Error("These pictures have different sizes.");
  const steps = Array.from(one, (value, at) => Math.abs(value - (other[at] ?? 0)));
  return { mean: steps.reduce((sum, step) => sum + step, 0) / steps.length, max: Math.max(...steps) };
}
