import { bucketUrl, type BucketConfig, regionOf } from "./bucket.ts";
import { encodeKey } from "./key.ts";

/** Where one object is. */
export interface ObjectPlace {
  readonly bucket: BucketConfig;
  readonly key: string;
  /** The object's own URL, without a signature. */
  readonly url: string;
}

export function placeOf(bucket: BucketConfig, key: string): ObjectPlace {
  return { bucket, key, url: `${bucketUrl(bucket)}/${encodeKey(key)}` };
}

/** The headers that let us write (or read) the object: when they say its length and sha256, the signature covers them, so a damaged body is refused. */
export async function signHeaders(
  { bucket, url }: ObjectPlace,
  method: "PUT" | "GET",
  headers: Readonly<Record<string, string>>,
): Promise<Record<string, string>> {
  const signer = await createSigner(bucket, { method, url, headers: { ...headers } });
  return Object.fromEntries((await signer.sign()).headers);
}

/** A URL with which everybody can read the object until it expires. */
export async function presignGet({ bucket, url }: ObjectPlace): Promise<string> {
  const asked = new URL(url);
  asked.searchParams.set("X-Amz-Expires", String(Math.round(bucket.expiresMs / 1000)));
  const signer = await createSigner(bucket, { method: "GET", url: asked.href, signQuery: true });
  return (await signer.sign()).url.href;
}

interface Asked {
  readonly method: string;
  readonly url: string;
  readonly headers?: Record<string, string>;
  readonly signQuery?: boolean;
}

/** Loaded only here: a worker without a bucket never needs it. */
async function createSigner(bucket: BucketConfig, asked: Asked) {
  const { AwsV4Signer } = await import("aws4fetch");
  const { accessKeyId, secretAccessKey, sessionToken } = bucket;
  return new AwsV4Signer({ ...asked, accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }), service: "s3", region: regionOf(bucket) });
}
