import { createHash, randomBytes } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { copyFile, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, isAbsolute, join, normalize } from "node:path";
import type { AnswerImage, Artifact } from "../../engines/engine.ts";
import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import type { Sink } from "./sink.ts";

export interface FileSinkOptions {
  readonly dir: string;
  /** Words in braces: {job}, {index} and {ext}. Slashes make folders under `dir`. */
  readonly template: string;
}

const words = ["job", "index", "ext"] as const;
const extensions: Readonly<Record<string, string>> = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp" };
const longestId = 120;

/** Writes each image under `dir`: whole or not at all, and never outside of it, whatever a job's id looks like. */
export function createFileSink({ dir, template }: FileSinkOptions): Sink {
  checkTemplate(template);
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

function checkTemplate(template: string): void {
  const used = [...template.matchAll(/\{([^}]*)\}/g)].map((match) => match[1] ?? "");
  const foreign = used.find((word) => !(words as readonly string[]).includes(word));
  const fault =
    foreign !== undefined
      ? `there is no {${foreign}}, only {${words.join("}, {")}}`
      : !used.includes("job") || !used.includes("index")
        ? "without {job} and {index} images would overwrite each other"
        : isAbsolute(template) || normalize(template).startsWith("..")
          ? "it leads out of the folder"
          : undefined;
  if (fault) throw new FettleError("config.invalid", `Cannot use the template "${template}": ${fault}.`, { where: { path: "results.files.template" } });
}

function place(template: string, id: string, image: AnswerImage): string {
  const values: Record<string, string> = { job: safeId(id), index: String(image.index), ext: extensions[image.mime] ?? "bin" };
  return template.replace(/\{([^}]*)\}/g, (_, word: string) => values[word] ?? "");
}

/** An id as one plain file name. What had to be changed gets a piece of its hash, so that two ids never share a file. */
function safeId(id: string): string {
  const plain = id
    .replace(/[^A-Za-z0-9._-]/g, "_")
    .replace(/^[.-]+/, "_")
    .slice(0, longestId);
  return plain === id && plain !== "" ? plain : `${plain || "job"}-${createHash("sha256").update(id).digest("hex").slice(0, 10)}`;
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
