import { randomInt } from "node:crypto";
import { FettleError } from "../../errors/fettle-error.ts";
import { fillTemplate, keyTemplate, templateFault } from "../../util/template.ts";
import { extensionOf } from "../image-types.ts";
import { safeName } from "../safe-name.ts";

/** Throws `config.invalid` for a key template that would lose images or leave its prefix. */
export function checkKeyTemplate(template: string): void {
  const fault = templateFault(template, keyTemplate);
  if (fault) throw new FettleError("config.invalid", `Cannot use the template "${template}": ${fault}.`, { where: { path: "results.s3.key" } });
}

/** One image's key. A job's id cannot lead out of the template's folders. */
export function keyFor(
  template: string,
  jobId: string,
  image: { readonly index: number; readonly mime: string; readonly ext?: string },
  now = new Date(),
): string {
  return fillTemplate(template, {
    job: safeName(jobId),
    index: String(image.index),
    ext: image.ext ?? extensionOf(image.mime),
    random: Array.from({ length: 8 }, () => "abcdefghijklmnopqrstuvwxyz"[randomInt(26)]).join(""),
    date: now.toISOString().slice(0, 10),
  });
}

/** A key as a URL's path: everything escaped that some server may read otherwise. */
export function encodeKey(key: string): string {
  return key.split("/").map(encodeStrict).join("/");
}

function encodeStrict(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
}
