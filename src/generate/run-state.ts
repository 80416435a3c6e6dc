import { closeSync, existsSync, fstatSync, fsyncSync, mkdirSync, openSync, readFileSync, readSync, rmSync, writeSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { isObject } from "../jobs/envelope.ts";
import { writeFileAtomic } from "../util/atomic-write.ts";

/** A file on its way: written under `temporary`, then renamed. */
export interface PlannedFile {
  readonly path: string;
  readonly temporary: string;
}

/** What a former run left of a job. `begun`: the files are only some, or none, of what it was to write. */
export type Former =
  | { readonly type: "done"; readonly files: readonly string[]; readonly record: unknown }
  | { readonly type: "begun"; readonly files: readonly (Partial<PlannedFile> & { readonly path: string })[]; readonly sentAs: string | undefined };

export interface RunState extends Disposable {
  readonly path: string;
  former(key: string): Former | undefined;
  /** Files of these jobs that are done, and files of jobs that are none of these (their line was changed or removed). */
  files(keys: ReadonlySet<string>): { readonly kept: ReadonlySet<string>; readonly stale: ReadonlySet<string> };
  sent(key: string, id: string): void;
  writing(key: string, files: readonly PlannedFile[]): void;
  done(key: string, files: readonly string[], record: unknown): void;
}

const header = { fettle: "generate", version: 1 };

/**
 * The memory of a run of many jobs: a file of JSON lines beside the images, only ever appended to, each line on the disk
 * before what it tells of goes on.
 *
 *   sent (asked of an instance) ──► writing (these files may exist now) ──► done (they do)
 *
 * Killed at any moment, a job is either done with all its files, or its files are known and replaced by the next run. A line
 * that was cut off is no line. Without `resume` the memory begins anew.
 */
export function openRunState(path: string, { resume }: { resume: boolean }): RunState {
  const dir = dirname(path);
  const known = resume ? load(path, dir) : new Map<string, Former>();
  let fd: number | undefined;
  const append = (line: object) => {
    try {
      fd ??= begin(path, resume);
      writeSync(fd, `${JSON.stringify(line)}\n`);
      fsyncSync(fd);
    } catch (error) {
      throw new FettleError("result.cannot-store", `Cannot write ${path}: ${reasonOf(error)}.`, { cause: error });
    }
  };
  const inside = (file: string) => relative(dir, file);
  const former = (key: string): Former | undefined => {
    const found = known.get(key);
    if (found?.type !== "done" || found.files.every((file) => existsSync(file))) return found;
    return { type: "begun", files: found.files.map((file) => ({ path: file })), sentAs: undefined };
  };
  return {
    path,
    former,
    files(keys) {
      const done = [...known.keys()].flatMap((key) => {
        const found = former(key);
        return found?.type === "done" ? found.files.map((file) => ({ file, isKept: keys.has(key) })) : [];
      });
      const kept = new Set(done.flatMap(({ file, isKept }) => (isKept ? [file] : [])));
      return { kept, stale: new Set(done.flatMap(({ file }) => (kept.has(file) ? [] : [file]))) };
    },
    sent: (key, id) => append({ sent: key, id }),
    writing: (key, files) => append({ writing: key, files: files.map((file) => ({ path: inside(file.path), temporary: inside(file.temporary) })) }),
    done: (key, files, record) => append({ done: key, files: files.map(inside), record }),
    [Symbol.dispose]() {
      if (fd !== undefined) closeSync(fd);
      fd = undefined;
    },
  };
}

/** Removes what a killed run may have left of a job, except for what the job has made anew. */
export function removeLeftovers(former: Former | undefined, made: readonly string[]): void {
  if (former?.type !== "begun") return;
  for (const { path, temporary } of former.files) {
    if (temporary !== undefined) rmSync(temporary, { force: true });
    if (!made.includes(path)) rmSync(path, { force: true });
  }
}

function begin(path: string, resume: boolean): number {
  mkdirSync(dirname(path), { recursive: true });
  if (!resume || !existsSync(path)) writeFileAtomic(path, `${JSON.stringify(header)}\n`);
  const fd = openSync(path, "a+");
  const { size } = fstatSync(fd);
  const last = Buffer.alloc(1);
  // A line that was cut off must not swallow the next one.
  if (size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== 10) writeSync(fd, "\n");
  return fd;
}

function load(path: string, dir: string): Map<string, Former> {
  const known = new Map<string, Former>();
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return known;
    throw new FettleError("cli.bad-value", `Cannot resume from ${path}: ${reasonOf(error)}.`, { cause: error });
  }
  const [first, ...lines] = text.split("\n").map(parseLine);
  if (text.trim() !== "" && (first?.["fettle"] !== header.fettle || first["version"] !== header.version))
    throw new FettleError("cli.bad-value", `Cannot resume from ${path}: it is not the memory of such a run.`, {
      hint: "Move the file away, or run without --resume.",
    });
  for (const line of lines) if (line) note(known, line, dir);
  return known;
}

function note(known: Map<string, Former>, line: Record<string, unknown>, dir: string): void {
  const { sent, writing, done, id, files, record } = line;
  const list = Array.isArray(files) ? (files as unknown[]) : [];
  // Whatever the file says, nothing outside of its own folder is looked at or removed.
  const inside = (file: unknown): file is string => typeof file === "string" && resolve(dir, file).startsWith(dir === "/" ? dir : `${dir}/`);
  if (typeof done === "string") {
    known.set(done, { type: "done", files: list.filter(inside).map((file) => resolve(dir, file)), record });
  } else if (typeof writing === "string") {
    const before = known.get(writing);
    const planned = list.flatMap((file) =>
      isObject(file) && inside(file["path"]) && inside(file["temporary"]) ? [{ path: join(dir, file["path"]), temporary: join(dir, file["temporary"]) }] : [],
    );
    known.set(writing, {
      type: "begun",
      files: [...(before?.type === "begun" ? before.files : []), ...planned],
      sentAs: before?.type === "begun" ? before.sentAs : undefined,
    });
  } else if (typeof sent === "string" && typeof id === "string") {
    const before = known.get(sent);
    known.set(sent, { type: "begun", files: before?.type === "begun" ? before.files : [], sentAs: id });
  }
}

function parseLine(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
