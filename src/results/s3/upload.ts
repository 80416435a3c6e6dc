import { createReadStream } from "node:fs";
import { type ClientRequest, type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { pipeline } from "node:stream/promises";
import type { Artifact } from "../../engines/engine.ts";
import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import { type BackoffOptions, backoffMs } from "../../util/backoff.ts";
import { pause } from "../../util/pause.ts";
import { pinTo, resolvePublic } from "../../util/public-address.ts";
import { type ObjectPlace, signHeaders } from "./sign.ts";

/** How one try ended. `again`: the same request may succeed a moment later; `lost`: so may it, and nobody said why it did not. */
type Try = { readonly type: "stored" } | { readonly type: "again" | "lost" | "refused"; readonly reason: string; readonly waitMs?: number };

const backoff: BackoffOptions = { firstMs: 250, factor: 2, maxMs: 8000, jitter: 0.3 };
const slowestBytesPerMs = 50;
const answerWithinMs = 30_000;
const longestWaitMs = 30_000;
const longestAnswer = 65_536;
const answerBehindMs = 200;

/**
 * Puts one file under its key: streamed from the disk, with its length and sha256 known to the server, tried again on 429, 5xx and
 * broken connections. Throws `result.cannot-upload`; when it returns, the object is there.
 */
export async function upload(place: ObjectPlace, file: Artifact, { signal }: { signal: AbortSignal }): Promise<void> {
  const { host } = new URL(place.url);
  for (let tries = 1; ; tries++) {
    const end = await putOnce(place, file, signal);
    if (end.type === "stored") return;
    const often = tries > 1 ? `, ${tries} times` : "";
    if (signal.aborted) throw cannotUpload(`${host}: fettle was stopped meanwhile (${end.reason})`);
    if (end.type === "refused" || tries >= place.bucket.tries) {
      const why = end.type === "lost" ? await askWhy(place, signal) : "";
      throw cannotUpload(`${host}: ${end.reason}${often}${why}`);
    }
    await pause(Math.max(end.waitMs ?? 0, backoffMs(tries, backoff)), { signal });
  }
}

export function cannotUpload(reason: string): FettleError {
  return new FettleError("result.cannot-upload", `Cannot upload an image to ${reason.replace(/\.$/, "")}.`);
}

async function putOnce(place: ObjectPlace, file: Artifact, signal: AbortSignal): Promise<Try> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(answerWithinMs + file.sizeBytes / slowestBytesPerMs)]);
  const headers = { "content-type": file.mime, "content-length": String(file.sizeBytes), "x-amz-content-sha256": file.sha256 };
  try {
    return await exchange(place, {
      method: "PUT",
      headers,
      limit,
      send: (request) => pipeline(createReadStream(file.path, { end: file.sizeBytes - 1 }), request),
    });
  } catch (error) {
    return { type: "lost", reason: limit.aborted && !signal.aborted ? "it did not answer in time" : reasonOf(error) };
  }
}

/** A server may refuse a large body by hanging up, and its answer is lost with the connection; a request without a body is answered. */
async function askWhy(place: ObjectPlace, signal: AbortSignal): Promise<string> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(answerWithinMs / 3)]);
  const send = async (request: ClientRequest) => void request.end();
  const end = await exchange(place, { method: "GET", headers: {}, limit, send }).catch(() => undefined);
  return end?.type === "refused" && !end.reason.includes("NoSuchKey") ? `; asked without a body, ${end.reason}` : "";
}

interface Exchange {
  readonly method: "PUT" | "GET";
  readonly headers: Readonly<Record<string, string>>;
  readonly limit: AbortSignal;
  send(request: ClientRequest): Promise<void>;
}

/** One request and the verdict on its answer; throws when there is none. */
async function exchange(place: ObjectPlace, { method, headers, limit, send }: Exchange): Promise<Try> {
  const url = new URL(place.url);
  const pinned = place.bucket.isForeign ? await resolvePublic(url.hostname, { signal: limit }) : undefined;
  if (pinned && pinned.type !== "resolved") return { type: pinned.type === "refused" ? "refused" : "again", reason: pinned.reason };
  const signed = await signHeaders(place, method, headers);
  const begin = url.protocol === "https:" ? requestHttps : requestHttp;
  // A connection of its own: a kept one may be closed by the other side in the very moment of the next request.
  const request = begin(url, { method, headers: signed, agent: false, signal: limit, ...(pinned && { lookup: pinTo(pinned.addresses) }) });
  const answered = Promise.withResolvers<IncomingMessage>();
  request.once("response", answered.resolve);
  // The answer to a half-sent body may be on its way behind the broken pipe.
  const lost = (error: unknown) => void setTimeout(() => answered.reject(error as Error), answerBehindMs);
  request.on("error", lost);
  try {
    send(request).catch(lost);
    return await judge(await answered.promise);
  } finally {
    request.destroy();
  }
}

async function judge(response: IncomingMessage): Promise<Try> {
  const status = response.statusCode ?? 0;
  const text = await readShort(response);
  if (status >= 200 && status < 300) return { type: "stored" };
  const said = readError(text);
  const reason = `it answered ${status}${said ? ` (${said})` : ""}`;
  const passing = status >= 500 || status === 429 || status === 408 || /RequestTimeout|SlowDown|OperationAborted/.test(said);
  const seconds = Number(response.headers["retry-after"]);
  const waitMs = Number.isFinite(seconds) ? Math.min(longestWaitMs, Math.max(0, seconds * 1000)) : 0;
  return passing ? { type: "again", reason, waitMs } : { type: "refused", reason };
}

async function readShort(response: IncomingMessage): Promise<string> {
  let text = "";
  try {
    for await (const chunk of response.setEncoding("utf8") as AsyncIterable<string>) {
      text += chunk;
      if (text.length > longestAnswer) break;
    }
  } catch {
    // The status alone must do.
  }
  return text;
}

/** Code and message of S3's XML, and the region where it names one. Nothing else: the rest repeats keys and signatures. */
function readError(xml: string): string {
  const field = (name: string) => new RegExp(`<${name}>([^<]{1,200})</${name}>`).exec(xml)?.[1]?.trim();
  const [code, message, region] = [field("Code"), field("Message"), field("Region")];
  return [code, message?.replace(/\.$/, ""), region && `its region is ${region}`].filter(Boolean).join(": ");
}
