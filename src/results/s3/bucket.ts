// results/s3/ owns how images get into an S3-compatible bucket and what address they have there afterwards.
// Takes: a bucket (from the configuration or from a job) and files. Gives: URLs that work, or why not. Must not know answers or sources.
import { isIP } from "node:net";
import { FettleError } from "../../errors/fettle-error.ts";
import type { JobBucket } from "../../jobs/prepare/job-bucket.ts";
import { readEndpoint } from "../../util/endpoint-url.ts";

/** Where a bucket is, as a person or a platform writes it down. */
export interface BucketConfig {
  /** The service's address. The bucket's name may be in its host or its path already. */
  readonly endpoint: string;
  /** Empty: RunPod's rule, the month as `11-26`, in the place of a bucket's name. */
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary keys. */
  readonly sessionToken: string;
  /** Empty: read from the endpoint where it tells, else us-east-1. */
  readonly region: string;
  /** `auto`: virtual for amazonaws.com, path elsewhere. */
  readonly style: "auto" | "path" | "virtual";
  /** A template below the bucket; words {job}, {index}, {ext}, {random}, {date}. */
  readonly key: string;
  /** Empty: presigned URLs. Else what the keys are appended to. */
  readonly publicUrl: string;
  /** Of presigned URLs; at most 7 days, which is the protocol's limit. */
  readonly expiresMs: number;
  /** Requests in all for one image, the first included. */
  readonly tries: number;
  /** Somebody else named the endpoint: only public addresses. */
  readonly isForeign: boolean;
}

/** What a bucket has that nobody named: RunPod's key, its 7 days. */
export const usualBucket = {
  sessionToken: "",
  region: "",
  style: "auto",
  key: "{job}/{random}.{ext}",
  publicUrl: "",
  expiresMs: 604_800_000,
  tries: 6,
} as const satisfies Partial<BucketConfig>;

/** The bucket that a job brought along. */
export function bucketOfJob({ mayBePrivate, ...place }: JobBucket): BucketConfig {
  return { ...usualBucket, ...place, isForeign: !mayBePrivate };
}

/** The URL that keys are appended to, without a slash at its end. */
export function bucketUrl({ endpoint, bucket, style }: Pick<BucketConfig, "endpoint" | "bucket" | "style">, now = new Date()): string {
  const url = parseEndpoint(endpoint);
  const path = url.pathname.replace(/\/+$/, "");
  // The SDK puts the month behind whatever the endpoint is, so it is a bucket there, or a folder when the endpoint names one.
  if (bucket === "") return `${url.origin}${path}/${monthOf(now)}`;
  if (url.hostname.startsWith(`${bucket}.`) || path.split("/").at(-1) === bucket) return url.origin + path;
  const isVirtual = style === "virtual" || (style === "auto" && /\.amazonaws\.com(\.cn)?$/.test(url.hostname) && !bucket.includes("."));
  if (!isVirtual || isIP(url.hostname.replace(/^\[|\]$/g, ""))) return `${url.origin}${path}/${encodeURIComponent(bucket)}`;
  return `${url.protocol}//${bucket}.${url.host}${path}`;
}

/** Throws `config.invalid`: what is wrong with the address, without its secrets. */
export function parseEndpoint(endpoint: string): URL {
  const url = readEndpoint(endpoint);
  if (typeof url !== "string") return url;
  throw new FettleError("config.invalid", `Cannot use the bucket's endpoint: ${url}.`, { where: { path: "results.s3.endpoint" } });
}

const regions: readonly RegExp[] = [
  /(?:^|\.)s3[.-](?:dualstack\.|fips\.)?([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com(?:\.cn)?$/,
  /(?:^|\.)s3\.([a-z0-9-]+)\.(?:backblazeb2|wasabisys|scw)\.(?:com|cloud)$/,
  /(?:^|\.)([a-z0-9]+)\.digitaloceanspaces\.com$/,
];

/** The region to sign for. */
export function regionOf({ endpoint, region }: Pick<BucketConfig, "endpoint" | "region">): string {
  if (region !== "") return region;
  const { hostname } = parseEndpoint(endpoint);
  for (const pattern of regions) {
    const found = pattern.exec(hostname)?.[1];
    if (found) return found;
  }
  return /\.r2\.cloudflarestorage\.com$|^storage\.googleapis\.com$/.test(hostname) ? "auto" : "us-east-1";
}

/** `11-26`: month and year of the worker's own clock, as the SDK's `strftime("%m-%y")`. */
function monthOf(now: Date): string {
  return `${String(now.getMonth() + 1).padStart(2, "0")}-${String(now.getFullYear()).slice(-2)}`;
}
