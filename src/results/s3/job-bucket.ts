import { FettleError } from "../../errors/fettle-error.ts";
import type { JobInput } from "../../jobs/job.ts";
import { type BucketConfig, parseEndpoint } from "./bucket.ts";

const names = ["accessId", "accessSecret", "bucketName", "endpointUrl"] as const;

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

/** The bucket that a job brings along (`s3Config`, RunPod's envelope key); throws `job.invalid` for half a one. Never quotes a value. */
export function readJobBucket(job: Pick<JobInput, "extra">, { mayBePrivate = false }: { mayBePrivate?: boolean } = {}): BucketConfig | undefined {
  const given = job.extra["s3Config"];
  if (given === undefined || given === null) return undefined;
  const fields = (typeof given === "object" && !Array.isArray(given) ? given : {}) as Readonly<Record<string, unknown>>;
  // RunPod's own forms send the object with empty texts when nothing was filled in.
  if (names.every((name) => fields[name] === undefined || fields[name] === null || fields[name] === "") && typeof given === "object") return undefined;
  const missing = names.find((name) => typeof fields[name] !== "string" || (fields[name] as string).trim() === "");
  if (missing) throw fault(`s3Config.${missing}`, "it must be a text that is not empty");
  const [accessKeyId = "", secretAccessKey = "", bucket = "", endpoint = ""] = names.map((name) => String(fields[name]).trim());
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$/.test(bucket) || bucket.includes("..")) throw fault("s3Config.bucketName", "it is not a bucket's name");
  // eslint-disable-next-line no-control-regex
  if (!/^[\u0021-\u007e]+$/.test(accessKeyId)) throw fault("s3Config.accessId", "it is not an access key");
  try {
    parseEndpoint(endpoint);
  } catch (error) {
    throw fault("s3Config.endpointUrl", error instanceof FettleError ? error.message.replace(/^.*?: |\.$/g, "") : "it is not a URL");
  }
  return { ...usualBucket, endpoint, bucket, accessKeyId, secretAccessKey, isForeign: !mayBePrivate };
}

function fault(path: string, reason: string): FettleError {
  return new FettleError("job.invalid", `Cannot accept the job: ${path}: ${reason}.`, { where: { path } });
}
