import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { dirname, extname, resolve } from "node:path";
import { FettleError } from "../errors/fettle-error.ts";
import { suggest } from "../util/suggest.ts";

/** What a name may be made of; see `wordsHelp` for their meaning. */
export const words = ["seed", "index", "job", "n", "prompt", "date", "ext"] as const;
export type Word = (typeof words)[number];

/** The facts of one image that words stand for. */
export interface NameFacts {
  readonly seed: number | undefined;
  readonly index: number;
  /** The job's own id; without one `job-N`. */
  readonly job: string | undefined;
  /** The job's number in its file, from 1. */
  readonly n: number;
  readonly prompt: unknown;
  /** When the run began. */
  readonly date: Date;
  readonly mime: string;
}

export interface OutTemplate {
  /** As it was typed, or what stands for it. */
  readonly text: string;
  /** No name was given, only a folder (or nothing): a taken name is then never replaced. */
  readonly isFolder: boolean;
  /** The folder that no value can lead out of: what comes before the first word. */
  readonly base: string;
  /** The path when it has no words: known before there is an image. */
  readonly plainPath: string | undefined;
  has(word: Word): boolean;
  /** The absolute path of one image. */
  path(facts: NameFacts): string;
}

export interface OutOptions {
  readonly out: string | undefined;
  readonly cwd: string;
  /** Many jobs share the template, so their names must differ. */
  readonly many: boolean;
}

const extensions: Readonly<Record<string, string>> = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp" };
const longestBytes = 100;

/**
 * Reads `--out`: a file, a folder (it exists or ends with a slash), or a name with words in braces such as `out/{seed}-{index}.png`.
 * `{{` and `}}` are plain braces. A value never brings a slash, a leading dot or a name of its own into the path.
 */
export function parseOut({ out, cwd, many }: OutOptions): OutTemplate {
  if (out === "") throw refused('""', "it names nothing");
  const isFolder = out === undefined || out.endsWith("/") || isDirectory(resolve(cwd, unbrace(out)));
  const usual = many ? "{job}-{index}.{ext}" : "fettle-{seed}-{index}.{ext}";
  const folder = out === undefined ? "" : out.endsWith("/") ? out : `${out}/`;
  const text = isFolder ? `${folder}${usual}` : out;
  if (text.includes("\0")) throw refused(out ?? "", "a file's name has no zero byte");
  const parts = split(text);
  const used = new Set(parts.flatMap((part) => (typeof part === "string" ? [] : [part.word])));
  for (const word of used) if (!(words as readonly string[]).includes(word)) throw unknownWord(text, word);
  if (many && !(["n", "job", "seed", "prompt"] as const).some((word) => used.has(word)))
    throw refused(text, "all jobs would share one name", "Give it {n}, {job} or {seed}, as in out/{n}-{index}.png; or name a folder.");
  const first = typeof parts[0] === "string" ? parts[0] : "";
  const isPlain = used.size === 0;
  const hasExtension = extname(parts.map((part) => (typeof part === "string" ? part : "x")).join("")) !== "";
  // "out/a-{seed}" → out; a plain file's folder is the one it lies in.
  const base = resolve(cwd, isPlain ? dirname(first) : first.slice(0, first.lastIndexOf("/") + 1));
  return {
    text,
    isFolder,
    base,
    plainPath: isPlain ? resolve(cwd, first) : undefined,
    has: (word) => used.has(word),
    path(facts) {
      const values = valuesOf(facts);
      const name = parts.map((part) => (typeof part === "string" ? part : (values[part.word as Word] ?? ""))).join("");
      const to = resolve(cwd, isPlain || hasExtension ? name : `${name}.${values.ext}`);
      if (to === base || !to.startsWith(base === "/" ? "/" : `${base}/`)) throw refused(text, `${to} is not in ${base}`);
      return to;
    },
  };
}

function valuesOf({ seed, index, job, n, prompt, date, mime }: NameFacts): Record<Word, string> {
  const two = (value: number) => String(value).padStart(2, "0");
  return {
    seed: seed === undefined ? "image" : String(seed),
    index: String(index),
    job: job === undefined ? `job-${n}` : safeId(job),
    n: String(n),
    prompt: slug(prompt),
    date: `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`,
    ext: extensions[mime] ?? "bin",
  };
}

type Part = string | { readonly word: string };

function split(text: string): Part[] {
  const parts: Part[] = [];
  let plain = "";
  for (const [token, word] of text.matchAll(/\{\{|\}\}|\{([^{}]*)\}|[\s\S]/g)) {
    if (word === undefined) {
      plain += token === "{{" ? "{" : token === "}}" ? "}" : token;
      continue;
    }
    if (plain) parts.push(plain);
    plain = "";
    parts.push({ word });
  }
  return plain ? [...parts, plain] : parts;
}

const unbrace = (text: string): string => text.replaceAll("{{", "{").replaceAll("}}", "}");

/** `A castle, at dawn!` → `a-castle-at-dawn`: letters and digits of any script, at most 100 bytes. */
function slug(prompt: unknown): string {
  const plain = (typeof prompt === "string" ? prompt : "")
    .normalize("NFKC")
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "-");
  return clip(plain).replace(/^-+|-+$/g, "") || "untitled";
}

/** An id as one plain part of a name. What had to be changed gets a piece of its hash, so that two ids never share a file. */
function safeId(id: string): string {
  const plain = clip(id.replace(/[^A-Za-z0-9._-]/g, "_").replace(/^[.-]+/, "_"));
  return plain === id ? plain : `${plain}-${createHash("sha256").update(id).digest("hex").slice(0, 10)}`;
}

function clip(text: string): string {
  let out = "";
  let bytes = 0;
  for (const letter of text) {
    bytes += Buffer.byteLength(letter);
    if (bytes > longestBytes) break;
    out += letter;
  }
  return out;
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

function unknownWord(text: string, word: string): FettleError {
  const near = suggest(word, words);
  return refused(
    text,
    `there is no {${word}}`,
    near ? `Did you mean {${near}}? A plain brace is written {{.` : `The words are {${words.join("} {")}}; a plain brace is written {{.`,
  );
}

function refused(text: string, reason: string, hint?: string): FettleError {
  return new FettleError("cli.bad-value", `Cannot use --out ${text}: ${reason}.`, hint === undefined ? {} : { hint });
}
