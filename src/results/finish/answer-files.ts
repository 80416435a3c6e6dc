import { extname } from "node:path";
import type { Artifact } from "../../engines/engine.ts";
import { type AnswerMap, type ImageSpan, mapAnswer } from "../answer-map.ts";
import type { StoredFile } from "../picture.ts";

/** A file of an answer that is no picture: described under `files`, its bytes in base64 under `contents`, one for one. */
export interface AnswerFile {
  readonly filename: string;
  readonly mime: string;
  readonly span: ImageSpan;
}

/** The files that an answer holds besides its images; none for an engine that knows no such thing. */
export async function readAnswerFiles(
  answer: Pick<Artifact, "path">,
  { kept }: Pick<AnswerMap, "kept">,
  options: { readonly extractTo?: string; readonly signal: AbortSignal },
): Promise<readonly AnswerFile[]> {
  const described = listOf(kept.get("files"));
  // Whose list of outputs is not there is another engine's, and its keys mean something else.
  if (described.length === 0 || !kept.has("outputs")) return [];
  const map = await mapAnswer(answer.path, { ...options, watch: "contents" });
  if (map?.spans.length !== described.length) return [];
  return map.spans.map((span, index) => {
    const { filename, mime } = described[index] ?? {};
    return { filename: textOf(filename, `file-${index}`), mime: textOf(mime, "application/octet-stream"), span };
  });
}

/** For sinks and buckets; they are counted on after the images. */
export function storedFiles(files: readonly AnswerFile[], firstIndex: number): StoredFile[] {
  return files.flatMap(({ filename, mime, span: { file } }, at) => {
    const ext = /^[A-Za-z0-9]{1,10}$/.exec(extname(filename).slice(1))?.[0];
    return file ? [{ index: firstIndex + at, mime, ...file, ...(ext !== undefined && { ext }) }] : [];
  });
}

/** The names that the workflow gave its images, in their order. */
export function imageNames({ kept }: Pick<AnswerMap, "kept">): readonly (string | undefined)[] {
  return listOf(kept.get("outputs")).map(({ filename }) => (typeof filename === "string" && filename !== "" ? filename : undefined));
}

function listOf(raw: string | undefined): readonly Readonly<Record<string, unknown>>[] {
  const list: unknown = raw === undefined ? [] : JSON.parse(raw);
  return Array.isArray(list) ? list.map((one: unknown) => (typeof one === "object" && one !== null ? (one as Record<string, unknown>) : {})) : [];
}

const textOf = (value: unknown, otherwise: string): string => (typeof value === "string" && value !== "" ? value : otherwise);
