import { FettleError } from "../../errors/fettle-error.ts";
import type { OutputContext } from "../../jobs/run-job.ts";
import type { Picture } from "../picture.ts";
import { reencode, shrink } from "../recode/reencode.ts";
import { type HelperPlace, runHelper } from "../recode/run-helper.ts";
import type { FinishParts } from "./finish-output.ts";
import { tooLarge } from "./size.ts";

export interface About {
  readonly context: OutputContext;
  readonly parts: Pick<FinishParts, "results" | "blackImages">;
  readonly helper: HelperPlace;
  readonly parameters: readonly string[];
  /** What is found on the way is added here. */
  readonly warnings: string[];
}

/** Decodes what was checked by its structure alone, when that is asked for. */
export async function verifyPictures(pictures: readonly Picture[], { parts, helper, warnings }: About): Promise<void> {
  const unsure = pictures.filter(({ mime }) => mime !== "image/png");
  if (parts.results.verify !== "full" || unsure.length === 0) return;
  const { images } = await runHelper({ images: unsure.map(({ path, index }) => ({ path, index })) }, helper);
  const black = unsure.filter((_, at) => images[at]?.kept === undefined && images[at]?.black).map(({ index }) => index);
  if (black.length === 0 || parts.blackImages === "off") return;
  const says = `image ${black.join(", ")} ${black.length > 1 ? "are" : "is"} all black`;
  if (parts.blackImages === "warn") warnings.push(`The engine's answer: ${says}.`);
  else throw new FettleError("result.bad-image", `Cannot use the engine's answer: ${says}.`, { details: { images: black } });
}

/** Into the format that the job or the configuration asks for. */
export async function convertPictures(pictures: readonly Picture[], { context, parts, helper, parameters, warnings }: About): Promise<readonly Picture[]> {
  const { options, dir } = context;
  const { results } = parts;
  const format = options.format ?? results.format;
  if (!format || pictures.length === 0) return pictures;
  try {
    const converted = await reencode(pictures, { ...helper, format, quality: options.quality ?? results.quality, parameters, dir });
    warnings.push(...converted.warnings);
    return converted.pictures;
  } catch (error) {
    const mayKeep = results.ifCannotConvert === "keep" && options.format === undefined;
    if (!mayKeep || !(error instanceof FettleError) || error.code !== "result.cannot-convert") throw error;
    warnings.push(`${error.message} They are handed out as they are.`);
    return pictures;
  }
}

/** Makes all pictures small enough together; throws `result.too-large` when no quality does. */
export async function shrinkPictures(
  pictures: readonly Picture[],
  {
    context,
    parts,
    helper,
    parameters,
    warnings,
    room,
    size,
    times,
  }: About & { readonly room: number; readonly size: number; readonly times: readonly number[] },
): Promise<readonly Picture[]> {
  const wanted = context.options.format ?? parts.results.format;
  const format = wanted === "jpeg" ? "jpeg" : "webp";
  const name = format === "jpeg" ? "JPEG" : "WebP";
  // Data URLs name the type; a longer name than the old one takes its room too.
  const shrunk = await shrink(pictures, { ...helper, format, parameters, dir: context.dir, bytes: room - 16 * times.length, times }).catch((error: unknown) => {
    if (!(error instanceof FettleError) || error.code !== "result.cannot-convert") throw error;
    throw tooLarge(size, context, `; its images cannot be made smaller (${error.message.replace(/\.$/, "")})`);
  });
  if (!shrunk) throw tooLarge(size, context, `, and its images are too large as ${name} in any quality too`);
  warnings.push(...shrunk.warnings, `The result was too large for its source: its images were made smaller (${name}, quality ${shrunk.quality}).`);
  return shrunk.pictures;
}
