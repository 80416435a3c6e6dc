import { extname } from "node:path";
import type { AnswerPart } from "../compose-answer.ts";
import { extensionOf } from "../image-types.ts";
import { imageNames } from "./answer-files.ts";
import { type Shape, type Shown, stringOf, text } from "./answer-shape.ts";

/**
 * worker-comfyui's answer since its version 5: `{images: [{filename, type: "base64" | "s3_url", data}], errors?}`, or `status` with
 * `success_no_images`. That worker drops what is no image; here it stands in `files`, in the same form, and texts in `texts`.
 */
export const workerComfyui: Shape = {
  times: () => 1,
  mayBeEmpty: true,
  parts({ answer, map, shown, files }) {
    const names = imageNames(map);
    const images = shown.map((one, index) => entry(nameFor(one, names[index], index), one, answer.path));
    const others = files.map(({ file: { filename }, shown: one }) => entry(filename, one, answer.path));
    const isEmpty = images.length === 0 && others.length === 0;
    return [
      text(isEmpty ? '{"status":"success_no_images","images":[' : '{"images":['),
      ...listed(images),
      text("]"),
      ...(others.length > 0 ? [text(',"files":['), ...listed(others), text("]")] : []),
      ...["errors", "texts"].flatMap((key) => (map.kept.has(key) ? [text(`,"${key}":${map.kept.get(key) ?? ""}`)] : [])),
      text("}"),
    ];
  },
};

function entry(filename: string, one: Shown, answerPath: string): AnswerPart[] {
  const type = one.type === "url" ? "s3_url" : "base64";
  return [text(`{"filename":${JSON.stringify(filename)},"type":"${type}","data":`), ...stringOf(one, answerPath, false), text("}")];
}

/** As the workflow named it, with the ending of what it was converted to. */
function nameFor(one: Shown, name: string | undefined, index: number): string {
  const known = name ?? `image_${String(index + 1).padStart(5, "0")}_.${extensionOf(one.mime)}`;
  const ext = extname(known);
  const wanted = extensionOf(one.mime);
  const fits = ext.toLowerCase() === `.${wanted}` || (wanted === "jpg" && ext.toLowerCase() === ".jpeg") || wanted === "bin";
  return fits ? known : `${known.slice(0, known.length - ext.length)}.${wanted}`;
}

const listed = (entries: readonly (readonly AnswerPart[])[]): AnswerPart[] =>
  entries.flatMap((parts, index) => (index === 0 ? [...parts] : [text(","), ...parts]));
