import { closeSync, constants, fstatSync, openSync, readSync, statSync } from "node:fs";
import { isAbsolute, join, relative } from "node:path";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { type Source, whereOf } from "./tree.ts";

export const maxFileBytes = 1_000_000;

/** Looked for in this order when nobody names a file. */
export const defaultFiles = ["fettle.yaml", "fettle.yml", "/etc/fettle/fettle.yaml"] as const;

/** The first of the default files that exists (in any form: a folder of that name is reported, not passed over). */
export function findDefaultFile(cwd: string): string | undefined {
  return defaultFiles.map((name) => (isAbsolute(name) ? name : join(cwd, name))).find((path) => statSync(path, { throwIfNoEntry: false }));
}

/** Reads a configuration file: regular, at most 1 MB, UTF-8, without control characters. Never waits on a pipe or a device. */
export function readSourceFile(path: string, cwd: string): Source {
  const absolute = isAbsolute(path) ? path : join(cwd, path);
  const near = relative(cwd, absolute);
  const shown = near.startsWith("..") ? absolute : near;
  const source: Source = { layer: "file", name: shown, file: shown, text: "", located: true };
  return { ...source, text: decode(readBytes(absolute, shown), source) };
}

function readBytes(path: string, shown: string): Buffer {
  let fd: number | undefined;
  try {
    refuseUnlessRegular(statSync(path), shown);
    // Not blocking: between the two looks the path may have become a pipe.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    refuseUnlessRegular(fstatSync(fd), shown);
    const buffer = Buffer.alloc(maxFileBytes + 1);
    let length = 0;
    for (let count = -1; count !== 0 && length < buffer.length; length += count) count = readSync(fd, buffer, length, buffer.length - length, null);
    // Files under /proc have no size until they are read.
    if (length > maxFileBytes) throw tooLarge(shown, `more than ${maxFileBytes} bytes`);
    return buffer.subarray(0, length);
  } catch (error) {
    if (error instanceof FettleError) throw error;
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new FettleError("config.not-found", `Cannot read config ${shown}: ${reasonOf(error)}.`, {
      ...(!missing && { hint: "Check the path and its rights." }),
      where: { file: shown },
      cause: error,
    });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function refuseUnlessRegular(stats: { isFile(): boolean; isDirectory(): boolean; isFIFO(): boolean; readonly size: number }, shown: string): void {
  if (stats.isFile()) {
    if (stats.size > maxFileBytes) throw tooLarge(shown, `${stats.size} bytes`);
    return;
  }
  const what = stats.isDirectory() ? "a folder" : stats.isFIFO() ? "a pipe" : "a device or socket";
  throw new FettleError("config.not-found", `Cannot read config ${shown}: it is ${what}, not a file.`, {
    hint: "Name a regular YAML file.",
    where: { file: shown },
  });
}

const tooLarge = (shown: string, size: string): FettleError =>
  new FettleError("config.too-large", `Cannot read config ${shown}: it has ${size}, the limit is ${maxFileBytes}.`, {
    hint: "A configuration is a few kilobytes; is this the right file?",
    where: { file: shown },
  });

function decode(bytes: Buffer, source: Source): string {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    const loose = new TextDecoder("utf-8").decode(bytes);
    throw refuse("it is not UTF-8 text", "Save the file as UTF-8.", { ...source, text: loose }, loose.indexOf("\uFFFD"));
  }
  // oxlint-disable-next-line no-control-regex
  const control = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.exec(text);
  if (!control) return text;
  const code = control[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
  throw refuse(
    code === "0000" ? "it holds a NUL byte" : `it holds the control character U+${code}`,
    "Remove the byte, or write it as an escape in double quotes.",
    { ...source, text },
    control.index,
  );
}

const refuse = (reason: string, hint: string, source: Source, start: number): FettleError =>
  new FettleError("config.syntax", `Cannot read config ${source.file}: ${reason}.`, { hint, where: whereOf({ source, start, end: start + 1 }) });
