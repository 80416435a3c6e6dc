import type { Artifact } from "../../engines/engine.ts";
import type { AnswerMap, ImageSpan } from "../answer-map.ts";
import { type AnswerPart, base64Bytes } from "../compose-answer.ts";
import type { Picture } from "../picture.ts";
import type { AnswerFile } from "./answer-files.ts";

/** What stands in the answer for one image. */
export type Shown =
  /** As it stood there. */
  | { readonly type: "same"; readonly span: ImageSpan; readonly mime: string }
  | { readonly type: "file"; readonly span: ImageSpan; readonly mime: string; readonly picture: Picture }
  | { readonly type: "url"; readonly span: ImageSpan; readonly mime: string; readonly url: string };

export interface ShapeRequest {
  readonly answer: Artifact;
  readonly map: AnswerMap;
  /** What was said of the job besides the engine's own words. */
  readonly warnings: readonly string[];
  readonly shown: readonly Shown[];
  /** What is no image. */
  readonly files: readonly { readonly file: AnswerFile; readonly shown: Shown }[];
}

export interface Shape {
  /** How often one image stands in it, by its index. */
  times(index: number): number;
  /** An answer without images has this shape too. */
  readonly mayBeEmpty?: true;
  parts(request: ShapeRequest): readonly AnswerPart[];
}

const engine: Shape = {
  times: () => 1,
  parts({ answer, shown, files }) {
    const parts: AnswerPart[] = [];
    let at = 0;
    for (const one of [...shown, ...files.map((other) => other.shown)].sort((a, b) => a.span.from - b.span.from)) {
      if (one.type === "same") continue;
      parts.push({ type: "copy", path: answer.path, from: at, end: one.span.from }, ...stringOf(one, answer.path, one.span.isDataUrl));
      at = one.span.end;
    }
    return [...parts, { type: "copy", path: answer.path, from: at, end: answer.sizeBytes }];
  },
};

/** `{images, image_url, seed}`: URLs or data URIs, and the first of them once more. */
const workerSdxl: Shape = {
  times: (index) => (index === 0 ? 2 : 1),
  parts({ answer, map, shown }) {
    const strings = shown.map((one) => stringOf(one, answer.path, true));
    const listed = strings.flatMap((parts, index) => (index === 0 ? parts : [text(","), ...parts]));
    return [text('{"images":['), ...listed, text('],"image_url":'), ...(strings[0] ?? [text("null")]), text(`,"seed":${map.info.seed ?? "null"}}`)];
  },
};

/** `{images, image, template, parameters, info, warnings}`: `image` is the first once more, read from its file, never held. */
const template: Shape = {
  times: (index) => (index === 0 ? 2 : 1),
  parts({ answer, map, warnings, shown }) {
    const strings = shown.map((one) => stringOf(one, answer.path, false));
    const listed = strings.flatMap((parts, index) => (index === 0 ? parts : [text(","), ...parts]));
    const kept = ["template", "parameters", "info"].map((key) => `,"${key}":${map.kept.get(key) ?? "null"}`).join("");
    const own: unknown = JSON.parse(map.kept.get("warnings") ?? "[]");
    const all = JSON.stringify([...new Set([...(Array.isArray(own) ? own : []), ...warnings])]);
    return [text('{"images":['), ...listed, text('],"image":'), ...(strings[0] ?? [text("null")]), text(`${kept},"warnings":${all}}`)];
  },
};

/** Shapes that are put together from images alone. */
export const plainShapes = { engine, template, "worker-sdxl": workerSdxl };

export const text = (value: string): AnswerPart => ({ type: "text", text: value });

/** One image as a JSON string. */
export function stringOf(one: Shown, answerPath: string, asDataUrl: boolean): AnswerPart[] {
  if (one.type === "url") return [text(JSON.stringify(one.url))];
  if (one.type === "file") {
    const { path, sizeBytes, mime } = one.picture;
    return [text(asDataUrl ? `"data:${mime};base64,` : '"'), { type: "base64", path, sizeBytes }, text('"')];
  }
  const { from, end, isDataUrl } = one.span;
  if (isDataUrl === asDataUrl || !asDataUrl) return [{ type: "copy", path: answerPath, from, end }];
  return [text(`"data:${one.mime};base64,`), { type: "copy", path: answerPath, from: from + 1, end }];
}

/** Bytes that the images themselves take, as often as the shape shows them. */
export function imageBytes(pictures: readonly Picture[], shape: Shape): number {
  return pictures.reduce((sum, { index, sizeBytes }) => sum + base64Bytes(sizeBytes) * shape.times(index), 0);
}
