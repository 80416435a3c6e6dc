import type { Config } from "../../config/schema/index.ts";
import { createGate } from "../../util/gate.ts";
import type { StoredFile } from "../picture.ts";
import { bucketUrl, regionOf, type BucketConfig } from "../s3/bucket.ts";
import { checkKeyTemplate, encodeKey, keyFor } from "../s3/key.ts";
import { placeOf, presignGet } from "../s3/sign.ts";
import { upload } from "../s3/upload.ts";

type Results = Config["results"];

/** The configured bucket; undefined when its endpoint is empty. */
export function bucketOf({ s3 }: Pick<Results, "s3">): BucketConfig | undefined {
  if (!s3 || s3.endpoint === "") return undefined;
  const { expires, when: _when, ...same } = s3;
  return { ...same, expiresMs: expires, isForeign: false };
}

/** Throws `config.invalid` for an address or a key that cannot be. */
export function checkBucket(bucket: BucketConfig): void {
  bucketUrl(bucket);
  regionOf(bucket);
  checkKeyTemplate(bucket.key);
}

/** Of one job at once. */
const uploadsAtOnce = 4;

/** Uploads all files and gives their URLs, by index. One that cannot be uploaded ends the others and fails them all. */
export async function uploadAll(
  files: readonly StoredFile[],
  jobId: string,
  bucket: BucketConfig,
  { signal }: { signal: AbortSignal },
): Promise<Map<number, string>> {
  const urls = new Map<number, string>();
  const gate = createGate(uploadsAtOnce);
  const failed = new AbortController();
  const both = AbortSignal.any([signal, failed.signal]);
  const now = new Date();
  let first: unknown;
  const uploads = files.map(async (picture) => {
    try {
      using _turn = await gate.enter({ signal: both });
      const place = placeOf(bucket, keyFor(bucket.key, jobId, picture, now));
      await upload(place, picture, { signal: both });
      urls.set(picture.index, bucket.publicUrl === "" ? await presignGet(place) : `${bucket.publicUrl.replace(/\/+$/, "")}/${encodeKey(place.key)}`);
    } catch (error) {
      first ??= error;
      failed.abort();
    }
  });
  await Promise.all(uploads);
  if (first !== undefined) throw first;
  return urls;
}
