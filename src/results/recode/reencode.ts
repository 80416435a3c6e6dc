// results/recode/ owns changing an image's format, with Pillow in the bundled helper. Takes: image files. Gives: new files beside them.
// What was generated how stays inside the picture: a `parameters` text in PNG, an EXIF user comment in JPEG and WebP, as the webui
// writes and reads them. Must not know answers, jobs or sinks.
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { type ImageFormat, mimeOf } from "../image-types.ts";
import type { Picture } from "../picture.ts";
import { type HelperPlace, runHelper } from "./run-helper.ts";

export interface ReencodeOptions extends HelperPlace {
  readonly format: ImageFormat;
  /** 1..100, for JPEG and WebP. */
  readonly quality: number;
  /** By the image's index; what a picture says of itself goes first. */
  readonly parameters: readonly string[];
  /** Where new files are written. */
  readonly dir: string;
}

export interface Reencoded {
  readonly pictures: readonly Picture[];
  readonly warnings: readonly string[];
}

/**
 * The pictures in that format. One that has it already is passed on as it is, and when all have it no process is started.
 * Throws `result.cannot-convert` without Python or Pillow, `result.bad-image` for a picture that cannot be decoded.
 */
export async function reencode(pictures: readonly Picture[], { format, quality, ...more }: ReencodeOptions): Promise<Reencoded> {
  const others = pictures.filter(({ mime }) => mime !== mimeOf(format));
  return await convert(pictures, others, { ...more, format, qualities: [quality] });
}

export interface FitOptions extends Omit<ReencodeOptions, "quality"> {
  readonly format: "jpeg" | "webp";
  /** All of them together in base64. */
  readonly bytes: number;
  /** How often each stands in the result, by its place in the list. */
  readonly times: readonly number[];
}

const qualities = [90, 80, 70, 60, 50, 40, 30, 20];

/** All pictures in that format, at the best quality with which they are small enough; undefined when there is none. */
export async function shrink(
  pictures: readonly Picture[],
  { bytes, times, ...more }: FitOptions,
): Promise<(Reencoded & { readonly quality: number }) | undefined> {
  const shrunk = await convert(pictures, pictures, { ...more, qualities, fit: { bytes, times } });
  return shrunk.quality === null ? undefined : { ...shrunk, quality: shrunk.quality };
}

interface Wish extends HelperPlace {
  readonly format: ImageFormat;
  readonly qualities: readonly number[];
  readonly parameters: readonly string[];
  readonly dir: string;
  readonly fit?: { readonly bytes: number; readonly times: readonly number[] };
}

async function convert(all: readonly Picture[], chosen: readonly Picture[], wish: Wish): Promise<Reencoded & { readonly quality: number | null }> {
  const { format, qualities: steps, parameters, dir, fit, ...place } = wish;
  if (chosen.length === 0) return { pictures: all, warnings: [], quality: null };
  // A folder of its own: the pictures may be the outcome of an earlier call.
  const folder = await mkdtemp(join(dir, "converted-"));
  const images = chosen.map(({ path, index }) => ({ path, index, ...(parameters[index] && { parameters: parameters[index] }) }));
  const answer = await runHelper({ images, format, qualities: steps, dir: folder, ...(fit && { fit }) }, place);
  const warnings: string[] = [];
  const converted = new Map<Picture, Picture>();
  for (const [at, picture] of chosen.entries()) {
    const made = answer.images[at];
    if (made?.warning) warnings.push(`Image ${picture.index} of the result: ${made.warning}.`);
    if (!made || made.kept) continue;
    const { path, sizeBytes, sha256, width, height } = made;
    converted.set(picture, { index: picture.index, path, mime: mimeOf(format), sizeBytes, sha256, width, height });
  }
  return { pictures: all.map((picture) => converted.get(picture) ?? picture), warnings, quality: answer.quality };
}
