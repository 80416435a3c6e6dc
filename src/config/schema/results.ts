import { z } from "zod";
import { fileTemplate, keyTemplate, templateFault } from "../../util/template.ts";
import { duration, flag, integer, text, word } from "./scalars.ts";

/** The longest that SigV4 lets a URL be valid: 7 days. */
const longestExpiryMs = 604_800_000;

const bucket = z
  .strictObject({
    endpoint: text
      .default("")
      .meta({ description: "The service's address; empty: no bucket. The bucket's name may be in its host or path. BUCKET_ENDPOINT_URL" }),
    bucket: text.default("").meta({ description: "The bucket's name. Empty: the month as 11-26, as RunPod's SDK names it." }),
    accessKeyId: text.default("").meta({ description: "BUCKET_ACCESS_KEY_ID" }),
    secretAccessKey: text.default("").meta({ description: "BUCKET_SECRET_ACCESS_KEY" }),
    sessionToken: text.default("").meta({ description: "Of temporary keys." }),
    region: text.default("").meta({ description: "Empty: read from the endpoint where it tells, else us-east-1." }),
    style: z
      .enum(["auto", "path", "virtual"])
      .default("auto")
      .meta({ description: "Whether the bucket's name goes into the path or the host; auto: the host for amazonaws.com, else the path." }),
    key: word.default("{job}/{random}.{ext}").meta({ description: "An image's key; words {job}, {index}, {ext}, {random} and {date}." }),
    publicUrl: text.default("").meta({ description: "Answer with this address and the key instead of a presigned URL." }),
    expires: duration.default(longestExpiryMs).meta({ description: "How long a presigned URL works; at most 7d." }),
    tries: integer(1, 100).default(6).meta({ description: "Requests in all for one image, on 429, 5xx and broken connections." }),
    when: z
      .enum(["always", "tooLarge"])
      .default("always")
      .meta({ description: "Upload every result's images, or those of a result that its source could not deliver." }),
  })
  .superRefine(({ endpoint, accessKeyId, secretAccessKey, publicUrl, key, expires }, context) => {
    const miss = (path: string, message: string) => context.addIssue({ code: "custom", path: [path], message: `expected ${message}` });
    if (endpoint !== "" && accessKeyId === "") miss("accessKeyId", "the key's id, because endpoint has a value");
    if (endpoint !== "" && secretAccessKey === "") miss("secretAccessKey", "the secret key, because endpoint has a value");
    if (endpoint !== "" && !isPlainUrl(endpoint)) miss("endpoint", "an http:// or https:// URL without keys and without a query");
    if (publicUrl !== "" && !/^https?:\/\/[^/?#]/.test(publicUrl)) miss("publicUrl", "a URL that begins with https:// or http://");
    if (expires < 1000 || expires > longestExpiryMs) miss("expires", "a duration from 1s to 7d");
    const fault = templateFault(key, keyTemplate);
    if (fault) miss("key", `another template: ${fault}`);
  });

const files = z
  .strictObject({
    dir: word.meta({ description: "The folder." }),
    template: word.default("{job}-{index}.{ext}").meta({ description: "The file's name." }),
    parameters: flag.default(false).meta({ description: "Also write each image's generation parameters beside it, in a .txt file." }),
  })
  .superRefine(({ template }, context) => {
    const fault = templateFault(template, fileTemplate);
    if (fault) context.addIssue({ code: "custom", path: ["template"], message: `expected another template: ${fault}` });
  });

function isPlainUrl(endpoint: string): boolean {
  const address = /^[a-z][a-z0-9+.-]*:\/\//i.test(endpoint) ? endpoint : `https://${endpoint}`;
  if (!URL.canParse(address)) return false;
  const url = new URL(address);
  return /^https?:$/.test(url.protocol) && !url.username && !url.password && !url.search && !url.hash;
}

export const results = z
  .strictObject({
    format: z.enum(["png", "jpeg", "webp"]).optional().meta({ description: "Hand images out in this format; left out: as the engine made them." }),
    quality: integer(1, 100).default(80).meta({ description: "Of JPEG and WebP." }),
    ifCannotConvert: z
      .enum(["fail", "keep"])
      .default("fail")
      .meta({ description: "Without Python or Pillow: fail the job, or hand out the images as they are. A format that the job itself asks for always fails." }),
    python: word.optional().meta({ description: "A Python with Pillow, to convert and decode images; left out: the first engine's." }),
    verify: z
      .enum(["structure", "full"])
      .default("structure")
      .meta({ description: "full: also decode each JPEG and WebP with Pillow. PNGs are decoded in any case." }),
    whenTooLarge: z
      .enum(["fail", "reencode"])
      .default("fail")
      .meta({ description: "A result that its source cannot deliver, and no bucket: fail, or make its images smaller (WebP or JPEG)." }),
    jobBuckets: z
      .enum(["off", "public", "any"])
      .default("public")
      .meta({ description: "Whether a job may bring its own bucket (s3Config); public: only at a public address." }),
    files: files.optional().meta({ description: "Also write each image into a folder." }),
    s3: bucket.optional().meta({ description: "Put images into an S3-compatible bucket; the answer then holds their URLs." }),
  })
  .prefault({})
  .meta({ description: "What becomes of the images." });
