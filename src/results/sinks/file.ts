import { createHash, randomBytes } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { copyFile, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { AnswerImage, Artifact } from "../../engines/engine.ts";
import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import { extensionOf } from "../image-types.ts";
import { safeName } from "../safe-name.ts";
import { checkTemplate, fillTemplate, type TemplateRules } from "../template.ts";
import type { Sink } from "./sink.ts";

export interface FileSinkOptions {
  readonly dir: string;
  /** Words in braces: {job}, {index} and {ext}. Slashes make folders under `dir`. */
  readonly template: string;
}

const rules: TemplateRules = { key: "results.files.template", words: ["job", "index", "ext"], needs: [["job"], ["index"]] };

/** Writes each image under `dir`: whole or not at all, and never outside of it, whatever a job's id looks like. */
export function createFileSink({ dir, template }: FileSinkOptions): Sink {
  checkTemplate(template, rules);
  return {
    name: "file",
    wantsFiles: true,
    async store({ id }, { images }) {
      const artifacts: Artifact[] = [];
      for (const image of images) artifacts.push(await storeImage(image, join(dir, place(template, id, image))));
      return artifacts;
    },
  };
}

function place(template: string, id: string, image: AnswerImage): string {
  return fillTemplate(template, { job: safeName(id), index: String(image.index), ext: extensionOf(image.mime) });
}

async function storeImage(image: AnswerImage, path: string): Promise<Artifact> {
  if (image.path === undefined) throw new Error(`image ${image.index} was not kept as a file; the answer reader must be told to`);
  const temporary = `${path}.${randomBytes(4).toString("hex")}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true });
    // A copy, not a move: the folder may lie on another disk, and a second sink may want the file too.
    await copyFile(image.path, temporary, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
    const file = await open(temporary, "r+");
    await file.sync().finally(() => file.close());
    await rename(temporary, path);
    return { path, mime: image.mime, sizeBytes: image.sizeBytes, sha256: await hashOf(path) };
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
