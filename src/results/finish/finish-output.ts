import { join } from "node:path";
import type { Config } from "../../config/schema/index.ts";
import type { AnswerImage, EngineOutput } from "../../engines/engine.ts";
import { FettleError } from "../../errors/fettle-error.ts";
import type { OutputContext } from "../../jobs/run-job.ts";
import { type AnswerMap, type ImageSpan, mapAnswer } from "../answer-map.ts";
import { composeAnswer, sizeOfParts } from "../compose-answer.ts";
import type { Picture } from "../picture.ts";
import type { HelperPlace } from "../recode/run-helper.ts";
import { type BucketConfig, bucketOfJob } from "../s3/bucket.ts";
import type { Sink } from "../sinks/sink.ts";
import { type AnswerFile, readAnswerFiles, storedFiles } from "./answer-files.ts";
import { imageBytes, type Shape, type Shown } from "./answer-shape.ts";
import { uploadAll } from "./buckets.ts";
import { convertPictures, shrinkPictures, verifyPictures } from "./pictures.ts";
import { shapes } from "./shapes.ts";
import { roomFor, tooLarge } from "./size.ts";

export interface FinishParts {
  readonly results: Config["results"];
  readonly blackImages: Config["jobs"]["blackImages"];
  readonly assetRoot: string;
  readonly sinks: readonly Sink[];
  readonly bucket: BucketConfig | undefined;
}

export interface Finished {
  readonly output: EngineOutput;
  readonly warnings: readonly string[];
}

/**
 *   answer ─▶ its images' places ─▶ check, convert ─▶ sinks ─▶ bucket? ─▶ small enough? ─▶ shrink? ─▶ new answer
 *
 * What nobody asked for is not done: without a format, a sink, a bucket or a limit the output passes through unread.
 * Throws a FettleError for a result that cannot be handed out as it was asked for.
 */
export async function finishOutput(output: EngineOutput, context: OutputContext, parts: FinishParts): Promise<Finished> {
  const wish = wishOf(output, context, parts);
  const room = roomFor(context);
  const fits = output.answer.sizeBytes <= room;
  const untouched = (): Finished => {
    if (!fits) throw tooLarge(output.answer.sizeBytes, context);
    return { output, warnings: [] };
  };
  const isEmpty = output.images.length === 0;
  if (!wish.needsFiles && !wish.needsShape && (fits || (isEmpty && !wish.bucket))) return untouched();
  if (isEmpty && wish.needsShape && !wish.shape.mayBeEmpty) return untouched();
  const { signal, dir, job } = context;
  // Files are needed to send the images elsewhere or to change them; a shape alone is made of pieces of the answer.
  const needsFiles = wish.needsFiles || !fits || (wish.needsShape && room !== Number.POSITIVE_INFINITY);
  const map = await mapAnswer(output.answer.path, { signal, ...(needsFiles && { extractTo: dir }) });
  if (!map || map.spans.length !== output.images.length) return untouched();
  const files = await readAnswerFiles(output.answer, map, { signal, ...(needsFiles && { extractTo: dir }) });
  if (isEmpty && files.length === 0 && !wish.needsShape) return untouched();
  const found = needsFiles ? picturesOf(output.images, map) : [];
  const helper: HelperPlace = { python: parts.results.python ?? "python3", assetRoot: parts.assetRoot, signal };
  const warnings: string[] = [];
  const about = { context, parts, helper, warnings, parameters: map.info.infotexts };
  await verifyPictures(found, about);
  const pictures = await convertPictures(found, about);
  const others = storedFiles(files, output.images.length);
  for (const sink of parts.sinks) await sink.store(job, [...pictures, ...others], { parameters: map.info.infotexts });

  const draft = new Draft(output, map, files, wish.shape);
  let shown = draft.show(pictures, found);
  if (wish.bucket && (wish.uploads === "always" || sizeOfParts(draft.parts(shown)) > room)) {
    const urls = await uploadAll([...pictures, ...others], job.id, wish.bucket, { signal });
    shown = draft.showUrls(urls, pictures);
  }
  const size = sizeOfParts(draft.parts(shown));
  let handedOut = pictures;
  if (size > room) {
    if (draft.hasUrls || isEmpty || parts.results.whenTooLarge === "fail") throw tooLarge(size, context);
    const rest = size - imageBytes(pictures, wish.shape);
    handedOut = await shrinkPictures(pictures, { ...about, room: room - rest, size, times: pictures.map(({ index }) => wish.shape.times(index)) });
    shown = draft.show(handedOut, found);
    const smaller = sizeOfParts(draft.parts(shown));
    if (smaller > room) throw tooLarge(smaller, context);
  }
  if (!wish.needsShape && !draft.hasUrls && shown.every(({ type }) => type === "same")) return { output, warnings };
  const answer = await composeAnswer(join(dir, "result.json"), draft.parts(shown), { signal });
  return { output: { ...output, answer, images: draft.images(handedOut) }, warnings };
}

interface Wish {
  readonly shape: Shape;
  readonly bucket: BucketConfig | undefined;
  readonly uploads: "always" | "tooLarge";
  readonly needsFiles: boolean;
  readonly needsShape: boolean;
}

function wishOf(output: EngineOutput, { options }: OutputContext, { results, sinks, bucket }: FinishParts): Wish {
  const own = options.bucket && bucketOfJob(options.bucket);
  const uploads = own ? "always" : (results.s3?.when ?? "always");
  const format = options.format ?? results.format;
  const shape = shapes[options.shape];
  const decodes = results.verify === "full" && output.images.some(({ mime }) => mime !== "image/png");
  const converts = format !== undefined && output.images.some(({ mime }) => mime !== `image/${format}`);
  const chosen = own ?? bucket;
  return {
    shape,
    bucket: chosen,
    uploads,
    needsFiles: sinks.length > 0 || decodes || converts || (chosen !== undefined && uploads === "always"),
    needsShape: shape !== shapes.engine,
  };
}

function picturesOf(images: readonly AnswerImage[], { spans }: AnswerMap): Picture[] {
  return images.map(({ index, mime, width, height }, at) => {
    const file = spans[at]?.file;
    if (!file) throw new Error(`image ${index} has no file`);
    return { index, mime, width, height, ...file };
  });
}

/** The answer as it will be: what is shown for each image, and the pieces it is put together from. */
class Draft {
  readonly #output: EngineOutput;
  readonly #map: AnswerMap;
  readonly #files: readonly AnswerFile[];
  readonly #shape: Shape;
  #urls: ReadonlyMap<number, string> | undefined;

  constructor(output: EngineOutput, map: AnswerMap, files: readonly AnswerFile[], shape: Shape) {
    this.#output = output;
    this.#map = map;
    this.#files = files;
    this.#shape = shape;
  }

  get hasUrls(): boolean {
    return this.#urls !== undefined;
  }

  show(pictures: readonly Picture[], found: readonly Picture[]): Shown[] {
    return this.#map.spans.map((span, at): Shown => {
      const picture = pictures[at];
      if (picture && picture !== found[at]) return { type: "file", span, mime: picture.mime, picture };
      return { type: "same", span, mime: this.#output.images[at]?.mime ?? "image/png" };
    });
  }

  /** From now on everything is shown by its address. */
  showUrls(urls: ReadonlyMap<number, string>, pictures: readonly Picture[]): Shown[] {
    this.#urls = urls;
    return this.#map.spans.map((span, at) => this.#url(span, this.#output.images[at]?.index ?? at, pictures[at]?.mime ?? "image/png"));
  }

  parts(shown: readonly Shown[]) {
    return this.#shape.parts({ answer: this.#output.answer, map: this.#map, warnings: this.#output.warnings, shown, files: this.#shownFiles() });
  }

  #shownFiles(): { file: AnswerFile; shown: Shown }[] {
    const first = this.#output.images.length;
    return this.#files.map((file, at) => {
      const { span, mime } = file;
      return { file, shown: this.#urls ? this.#url(span, first + at, mime) : { type: "same", span, mime } };
    });
  }

  #url(span: ImageSpan, index: number, mime: string): Shown {
    const url = this.#urls?.get(index);
    if (url === undefined) throw new FettleError("result.cannot-upload", `Cannot upload an image: image ${index} has no address.`);
    return { type: "url", span, mime, url };
  }

  images(pictures: readonly Picture[]): readonly AnswerImage[] {
    return this.#output.images.map((image, at) => ({ ...image, ...pictures[at] }));
  }
}
