import { open } from "node:fs/promises";
import type { AnswerReader } from "../engine.ts";
import { infoOf } from "./info.ts";
import { isPicture } from "./outputs.ts";

/** A fetched output file. */
export interface FetchedFile {
  readonly path: string;
  readonly node: string;
  /** As the workflow named it, without what was put before it to keep jobs apart. */
  readonly filename: string;
  readonly subfolder: string;
  readonly type: string;
  readonly mime: string;
  readonly sizeBytes: number;
}

export interface AnswerContent {
  readonly files: readonly FetchedFile[];
  readonly texts: readonly { readonly node: string; readonly text: string }[];
  /** What could not be fetched; the rest still counts. */
  readonly errors: readonly string[];
  /** What was asked for, when the workflow was made here. */
  readonly parameters?: Readonly<Record<string, unknown>>;
}

/** Divisible by three: base64 of one chunk needs no padding. */
const chunkBytes = 96 * 1024;

/**
 * Writes the answer as results/ reads every engine's: `images` holds pictures in base64, `outputs` says of each which node and name
 * it had; `files` describes every other file, and `contents` holds them in the same order. Streamed: a video is never held whole.
 */
export async function writeAnswer(reader: AnswerReader, { files, texts, errors, parameters }: AnswerContent): Promise<boolean> {
  const pictures = files.filter(({ mime }) => isPicture(mime));
  const others = files.filter(({ mime }) => !isPicture(mime));
  const say = async (text: string) => await reader.write(Buffer.from(text));
  let wanted = await say('{"images":[');
  for (const [index, { path }] of pictures.entries()) {
    wanted = wanted && (await say(index === 0 ? '"' : ',"')) && (await pour(reader, path)) && (await say('"'));
  }
  wanted = wanted && (await say(`],"outputs":${JSON.stringify(pictures.map(describe))}`));
  if (others.length > 0) {
    const described = others.map((file) => ({ ...describe(file), mime: file.mime, sizeBytes: file.sizeBytes }));
    wanted = wanted && (await say(`,"files":${JSON.stringify(described)},"contents":[`));
    for (const [index, { path }] of others.entries()) {
      wanted = wanted && (await say(index === 0 ? '"' : ',"')) && (await pour(reader, path)) && (await say('"'));
    }
    wanted = wanted && (await say("]"));
  }
  if (texts.length > 0) wanted = wanted && (await say(`,"texts":${JSON.stringify(texts)}`));
  if (errors.length > 0) wanted = wanted && (await say(`,"errors":${JSON.stringify(errors)}`));
  if (parameters) wanted = wanted && (await say(`,"parameters":${JSON.stringify(parameters)},"info":${JSON.stringify(infoOf(parameters, pictures.length))}`));
  return wanted && (await say("}"));
}

function describe({ node, filename, subfolder }: FetchedFile): Readonly<Record<string, string>> {
  return { node, filename, ...(subfolder && { subfolder }) };
}

async function pour(reader: AnswerReader, path: string): Promise<boolean> {
  const file = await open(path, "r");
  try {
    const buffer = Buffer.allocUnsafeSlow(chunkBytes);
    for (;;) {
      const length = await fill(file, buffer);
      if (length === 0) return true;
      if (!(await reader.write(Buffer.from(buffer.toString("base64", 0, length), "latin1")))) return false;
    }
  } finally {
    await file.close();
  }
}

/** As full as the file allows: a short read in the middle would put padding into the base64. */
async function fill(file: Awaited<ReturnType<typeof open>>, buffer: Buffer): Promise<number> {
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return length;
}
