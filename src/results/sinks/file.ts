import { createHash, randomBytes } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { copyFile, mkdir, open, rename, rm, writeFile } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import type { Artifact } from "../../engines/engine.ts";
import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import { fileTemplate, fillTemplate, templateFault } from "../../util/template.ts";
import { extensionOf } from "../image-types.ts";
import { safeName } from "../safe-name.ts";
import type { Sink, StorableImage } from "./sink.ts";

export interface FileSinkOptions {
  readonly dir: string;
  /** Words in braces: {job}, {index} and {ext}. Slashes make folders under `dir`. */
  readonly template: string;
  /** Also a text of its generation parameters beside each image, as the webui's `save_txt`. Default false. */
  readonly parameters?: boolean;
}

/** Writes each image under `dir`: whole or not at all, and never outside of it, whatever a job's id looks like. */
export function createFileSink({ dir, template, parameters: withParameters = false }: FileSinkOptions): Sink {
  const fault = templateFault(template, fileTemplate);
  if (fault) throw new FettleError("config.invalid", `Cannot use the template "${template}": ${fault}.`, { where: { path: "results.files.template" } });
  return {
    name: "file",
    async store({ id }, images, { parameters = [] } = {}) {
      const artifacts: Artifact[] = [];
      for (const image of images) {
        const path = join(dir, place(template, id, image));
        artifacts.push(await storeImage(image, path));
        const text = parameters[image.index];
        if (withParameters && text) await writeWhole(textBeside(path), (temporary) => writeFile(temporary, `${text}\n`, { flag: "wx" }));
      }
      return artifacts;
    },
  };
}

function place(template: string, id: string, image: StorableImage): string {
  return fillTemplate(template, { job: safeName(id), index: String(image.index), ext: image.ext ?? extensionOf(image.mime) });
}

function textBeside(path: string): string {
  return `${path.slice(0, path.length - extname(path).length)}.txt`;
}

async function storeImage({ path: from, mime, sizeBytes }: StorableImage, path: string): Promise<Artifact> {
  // A copy, not a move: the folder may lie on another disk, and somebody else may want the file too.
  await writeWhole(path, (temporary) => copyFile(from, temporary, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL));
  return { path, mime, sizeBytes, sha256: await hashOf(path) };
}

/** The file appears whole, on the disk, or not at all. */
async function writeWhole(path: string, write: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString("hex")}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true });
    await write(temporary);
    const file = await open(temporary, "r+");
    await file.sync().finally(() => file.close());
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw new FettleError("result.cannot-store", `Cannot write ${path}: ${reasonOf(error)}.`, { cause: error });
  }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest("hex");
}
