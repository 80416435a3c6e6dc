export interface ImageFacts {
  readonly mime: string;
  readonly extension: string;
  readonly width: number;
  readonly height: number;
  /** undefined: this format's pixels were not decoded. */
  readonly isBlack: boolean | undefined;
}

/** The bytes are no good image; the message ends a sentence that begins "image 2". */
export class ImageFault extends Error {
  override readonly name = "ImageFault";
}

/** Checks one format. `push` throws or rejects with `ImageFault`; a piece may be kept only until `push` resolves. */
export interface FormatCheck {
  push(piece: Buffer): Promise<void>;
  end(): Promise<ImageFacts>;
  /** Frees what it holds; harmless at any time. */
  close(): void;
}

/** A side longer than this is no picture that an engine makes; it is a damaged header or a bomb. */
export const maxSide = 65_535;
export const maxPixels = 2 ** 28;

/** Throws when a header claims a size that no engine makes. */
export function checkSize(width: number, height: number): void {
  if (width < 1 || height < 1) throw new ImageFault(`claims a size of ${width}x${height}`);
  if (width > maxSide || height > maxSide || width * height > maxPixels)
    throw new ImageFault(`claims a size of ${width}x${height}, which is larger than ${maxPixels} pixels`);
}
