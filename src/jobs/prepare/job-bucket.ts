import { readEndpoint } from "../../util/endpoint-url.ts";
import { resolvePublic } from "../../util/public-address.ts";
import { type Body, invalid, type Invalid } from "./invalid.ts";

/** A bucket that a job brings along for its own images. */
export interface JobBucket {
  readonly endpoint: string;
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Whoever runs this machine allows addresses of its own network. */
  readonly mayBePrivate: boolean;
}

/** Whether jobs may bring one; public: only at a public address. */
export type JobBuckets = "off" | "public" | "any";

const names = ["accessId", "accessSecret", "bucketName", "endpointUrl"] as const;

/** `s3Config`, RunPod's key beside the input. Half a bucket is refused by the field's name; no value is ever quoted. */
export function readJobBucket(extra: Body, allowed: JobBuckets): { readonly bucket?: JobBucket } | Invalid {
  const given = extra["s3Config"];
  if (given === undefined || given === null) return {};
  const fields = (typeof given === "object" && !Array.isArray(given) ? given : {}) as Body;
  // RunPod's own forms send the object with empty texts when nothing was filled in.
  if (names.every((name) => fields[name] === undefined || fields[name] === null || fields[name] === "") && typeof given === "object") return {};
  if (allowed === "off") return invalid("s3Config", "jobs may not bring a bucket of their own here (results.jobBuckets)");
  const missing = names.find((name) => typeof fields[name] !== "string" || (fields[name] as string).trim() === "");
  if (missing) return invalid(`s3Config.${missing}`, "it must be a text that is not empty");
  const [accessKeyId = "", secretAccessKey = "", bucket = "", endpoint = ""] = names.map((name) => String(fields[name]).trim());
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$/.test(bucket) || bucket.includes("..")) return invalid("s3Config.bucketName", "it is not a bucket's name");
  // eslint-disable-next-line no-control-regex
  if (!/^[\u0021-\u007e]+$/.test(accessKeyId)) return invalid("s3Config.accessId", "it is not an access key");
  const fault = readEndpoint(endpoint);
  if (typeof fault === "string") return invalid("s3Config.endpointUrl", fault);
  return { bucket: { endpoint, bucket, accessKeyId, secretAccessKey, mayBePrivate: allowed === "any" } };
}

/** Why nothing could ever be uploaded there; asked before an engine works for it. A name that cannot be looked up just now may be found later. */
export async function findPrivateBucket({ endpoint, mayBePrivate }: JobBucket, { signal }: { signal: AbortSignal }): Promise<Invalid | undefined> {
  const url = readEndpoint(endpoint);
  if (mayBePrivate || typeof url === "string") return undefined;
  const found = await resolvePublic(url.hostname, { signal });
  return found.type === "refused" ? invalid("s3Config.endpointUrl", found.reason) : undefined;
}
