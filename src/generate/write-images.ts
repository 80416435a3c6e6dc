import { randomBytes } from "node:crypto";
import {
  accessSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import type { EngineOutput } from "../engines/engine.ts";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { isObject } from "../jobs/envelope.ts";
import type { NameFacts, OutTemplate } from "./out-template.ts";
import type { PlannedFile } from "./run-state.ts";

export interface WrittenImage {
  readonly path: string;
  readonly mime: string;
  readonly sizeBytes: number;
  readonly width: number;
  readonly height: number;
  readonly seed?: number;
}

/** What the engine said of its images, in A1111's words. */
export interface Answer {
  readonly parameters: unknown;
  readonly info: unknown;
  seedOf(index: number): number | undefined;
}

export function readAnswer({ answer, images }: EngineOutput): Answer {
  const value: unknown = JSON.parse(readFileSync(answer.path, "utf8"));
  if (!isObject(value)) return { parameters: undefined, info: undefined, seedOf: () => undefined };
  const info = typeof value["info"] === "string" ? parse(value["info"]) : value["info"];
  const facts = isObject(info) ? info : value;
  const seeds: readonly unknown[] = Array.isArray(facts["all_seeds"]) ? facts["all_seeds"] : [facts["seed"]];
  // A1111 puts a grid of all images before the first one.
  const first = typeof facts["index_of_first_image"] === "number" ? facts["index_of_first_image"] : 0;
  return {
    parameters: value["parameters"],
    info: value["info"],
    seedOf(index) {
      const seed = seeds[Math.max(0, index - first)] ?? (images.length === 1 ? seeds[0] : undefined);
      return Number.isSafeInteger(seed) ? (seed as number) : undefined;
    },
  };
}

/** What becomes of a file that is there already: another is written in its place, or beside it with a number, or not at all. */
export type Existing = "replace" | "number" | "fail";

export interface ImageFile extends PlannedFile {
  readonly from: string;
  readonly image: WrittenImage;
}

/** The places of one run's images. No two of them ever share one, whatever the template says. */
export class ImagePlaces {
  readonly #out: OutTemplate;
  readonly #existing: Existing;
  readonly #taken: Set<string>;
  readonly #stale: ReadonlySet<string>;

  /** Of a former run that this one continues: `kept` files stay, `stale` ones may always be replaced. */
  constructor(out: OutTemplate, existing: Existing, { kept, stale }: { kept?: ReadonlySet<string>; stale?: ReadonlySet<string> } = {}) {
    this.#out = out;
    this.#existing = existing;
    this.#taken = new Set(kept);
    this.#stale = stale ?? new Set();
  }

  /** Throws when images cannot be written there: better known before minutes of work. Makes nothing, for the work may fail. */
  check({ isOnly = false }: { isOnly?: boolean } = {}): void {
    const plain = isOnly ? this.#out.plainPath : undefined;
    if (plain !== undefined && this.#existing === "fail" && existsSync(plain)) throw isThere(plain);
    let dir = this.#out.base;
    while (!existsSync(dir)) dir = dirname(dir);
    if (!statSync(dir).isDirectory()) throw cannotWrite(this.#out.base, `${dir} is not a folder`);
    try {
      accessSync(dir, constants.W_OK);
    } catch (error) {
      throw cannotWrite(this.#out.base, error);
    }
  }

  /** Finds a place for each image, none written yet. `own` are files that an earlier, cut off try of the same job may have left. */
  plan({ images }: EngineOutput, answer: Answer, facts: Omit<NameFacts, "seed" | "index" | "mime">, own: ReadonlySet<string> = new Set()): ImageFile[] {
    return images.map(({ index, path: from, mime, sizeBytes, width, height }) => {
      if (from === undefined) throw new Error("the answer reader kept no image");
      const seed = answer.seedOf(index);
      const named = this.#out.path({ ...facts, seed, index, mime });
      const path = this.#claim(this.#out.has("index") || index === 0 ? named : numbered(named, index), own);
      const temporary = join(dirname(path), `.${basename(path).slice(0, 100)}.${randomBytes(4).toString("hex")}.tmp`);
      return { path, temporary, from, image: { path, mime, sizeBytes, width, height, ...(seed !== undefined && { seed }) } };
    });
  }

  /** Writes what was planned, each file whole or not at all, and on the disk when this returns. */
  write(files: readonly ImageFile[], own: ReadonlySet<string> = new Set()): WrittenImage[] {
    return files.map((file) => {
      try {
        mkdirSync(dirname(file.path), { recursive: true });
        copyFileSync(file.from, file.temporary, constants.COPYFILE_EXCL);
        sync(file.temporary);
        const path = this.#existing === "replace" || own.has(file.path) || this.#stale.has(file.path) ? replace(file) : this.#add(file);
        return { ...file.image, path };
      } catch (error) {
        throw error instanceof FettleError ? error : cannotWrite(file.path, error);
      } finally {
        rmSync(file.temporary, { force: true });
      }
    });
  }

  #claim(wanted: string, own: ReadonlySet<string>): string {
    for (let number = 1; ; number++) {
      const path = number === 1 ? wanted : numbered(wanted, number);
      if (this.#taken.has(path)) continue;
      if (!own.has(path) && !this.#stale.has(path) && this.#existing !== "replace" && existsSync(path)) {
        if (this.#existing === "fail") throw isThere(path);
        continue;
      }
      this.#taken.add(path);
      return path;
    }
  }

  /** Puts a file where none may be: `link` fails when somebody was faster. */
  #add({ path: wanted, temporary }: ImageFile): string {
    for (let path = wanted; ; path = this.#claim(wanted, new Set())) {
      try {
        linkSync(temporary, path);
        return path;
      } catch (error) {
        if (!existsSync(path)) {
          // Not every file system has links.
          renameSync(temporary, path);
          return path;
        }
        if (this.#existing === "fail") throw isThere(path, error);
      }
    }
  }
}

function replace({ path, temporary }: ImageFile): string {
  renameSync(temporary, path);
  return path;
}

function sync(path: string): void {
  const fd = openSync(path, "r+");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function isThere(path: string, cause?: unknown): FettleError {
  return new FettleError("result.cannot-store", `Cannot write ${path}: it exists already.`, { hint: "Name another --out, or say --existing replace.", cause });
}

function cannotWrite(to: string, error: unknown): FettleError {
  return new FettleError("result.cannot-store", `Cannot write ${to}: ${reasonOf(error)}.`, { cause: error });
}

function numbered(path: string, number: number): string {
  const extension = extname(path);
  return `${path.slice(0, path.length - extension.length)}-${number}${extension}`;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
