import { accessSync, constants, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import type { EngineOutput } from "../engines/engine.ts";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { isObject } from "../jobs/envelope.ts";

export interface WrittenImage {
  readonly path: string;
  readonly width: number;
  readonly height: number;
  readonly seed?: number;
}

/** What the engine said of its images, in A1111's words. */
export interface Answer {
  readonly parameters: unknown;
  readonly info: unknown;
  readonly seeds: readonly number[];
}

const extensions: Readonly<Record<string, string>> = { "image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp" };

export function readAnswer({ answer }: EngineOutput): Answer {
  const value: unknown = JSON.parse(readFileSync(answer.path, "utf8"));
  if (!isObject(value)) return { parameters: undefined, info: undefined, seeds: [] };
  const info = typeof value["info"] === "string" ? parse(value["info"]) : value["info"];
  const seeds = isObject(info) && Array.isArray(info["all_seeds"]) ? info["all_seeds"] : isObject(info) ? [info["seed"]] : [];
  return { parameters: value["parameters"], info: value["info"], seeds: seeds.filter((seed) => Number.isSafeInteger(seed)) as number[] };
}

/** Where images go: a path as typed, in the folder that the command was called in. */
export interface OutPlace {
  readonly out: string | undefined;
  readonly cwd: string;
}

/** Throws when images cannot be written there: better known before minutes of work. Makes nothing, for the work may fail. */
export function checkOut(place: OutPlace): void {
  const { target, isFolder } = resolveOut(place);
  let dir = isFolder ? target : dirname(target);
  while (!existsSync(dir)) dir = dirname(dir);
  if (!isDirectory(dir)) throw cannotWrite(target, `${dir} is not a folder`);
  try {
    accessSync(dir, constants.W_OK);
  } catch (error) {
    throw cannotWrite(target, error);
  }
}

/**
 * Writes the images to `out`: a file name is taken as it stands (and overwritten; further images get `-1`, `-2` …), in a folder
 * they are named `fettle-SEED-INDEX` and nothing is overwritten. A folder exists already or ends with a slash.
 */
export function writeImages({ images }: EngineOutput, { seeds }: Answer, place: OutPlace): WrittenImage[] {
  const { target, isFolder } = resolveOut(place);
  return images.map(({ index, path, mime, width, height }) => {
    const seed = seeds[index] ?? (images.length === 1 ? seeds[0] : undefined);
    const to =
      path === undefined
        ? undefined
        : isFolder
          ? placeIn(target, path, `fettle-${seed ?? "image"}-${index}`, extensions[mime] ?? ".png")
          : placeAt(numbered(target, index), path);
    if (to === undefined) throw new Error("the answer reader kept no image");
    return { path: to, width, height, ...(seed !== undefined && { seed }) };
  });
}

function resolveOut({ out, cwd }: OutPlace): { readonly target: string; readonly isFolder: boolean } {
  const target = resolve(cwd, out ?? ".");
  return { target, isFolder: out === undefined || out.endsWith("/") || isDirectory(target) };
}

function placeAt(to: string, from: string): string {
  write(to, from, "w");
  return to;
}

/** The first free name: `NAME.png`, `NAME-2.png`, … */
function placeIn(dir: string, from: string, name: string, extension: string): string {
  for (let number = 1; ; number++) {
    const to = join(dir, `${name}${number === 1 ? "" : `-${number}`}${extension}`);
    if (write(to, from, "wx")) return to;
  }
}

/** False when the name is taken and may not be overwritten (`wx`). Deno gives no code for an exclusive copy, so it is a write. */
function write(to: string, from: string, flag: "w" | "wx"): boolean {
  let hasFolder = false;
  try {
    mkdirSync(dirname(to), { recursive: true });
    hasFolder = true;
    writeFileSync(to, readFileSync(from), { flag });
    return true;
  } catch (error) {
    if (hasFolder && flag === "wx" && (error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw cannotWrite(to, error);
  }
}

function cannotWrite(to: string, error: unknown): FettleError {
  return new FettleError("result.cannot-store", `Cannot write ${to}: ${reasonOf(error)}.`, { cause: error });
}

function numbered(path: string, index: number): string {
  const extension = extname(path);
  return index === 0 ? path : `${path.slice(0, path.length - extension.length)}-${index}${extension}`;
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
