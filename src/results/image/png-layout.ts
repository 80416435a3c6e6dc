export interface PngHeader {
  readonly width: number;
  readonly height: number;
  readonly bits: number;
  /** 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA */
  readonly colour: number;
  readonly interlaced: boolean;
}

/** Rows of equal length, in the order in which they are stored. `rowBytes` is without the filter byte. */
export interface RowGroup {
  readonly rows: number;
  readonly rowBytes: number;
  readonly pixelsPerRow: number;
}

const channels: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
// Adam7: where each of the seven passes begins, and its steps.
const passes = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

export function bytesPerPixel({ bits, colour }: PngHeader): number {
  return Math.max(1, ((channels[colour] ?? 1) * bits) / 8);
}

/** One group for a plain image, up to seven for an interlaced one; passes without pixels are not stored at all. */
export function rowGroups(header: PngHeader): RowGroup[] {
  const bitsPerPixel = (channels[header.colour] ?? 1) * header.bits;
  const group = (width: number, rows: number): RowGroup => ({ rows, rowBytes: Math.ceil((width * bitsPerPixel) / 8), pixelsPerRow: width });
  if (!header.interlaced) return [group(header.width, header.height)];
  return passes
    .map(([x, y, dx, dy]) => group(Math.ceil((header.width - x) / dx), Math.ceil((header.height - y) / dy)))
    .filter(({ rows, pixelsPerRow }) => rows > 0 && pixelsPerRow > 0);
}
