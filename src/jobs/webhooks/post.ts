import { createReadStream } from "node:fs";
import { type IncomingMessage, request as requestHttp, type RequestOptions } from "node:http";
import { request as requestHttps } from "node:https";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { reasonOf } from "../../errors/fettle-error.ts";
import { pinTo, resolvePublic } from "../../util/public-address.ts";
import { version } from "../../version.ts";
import type { TerminalResult } from "../terminal-result.ts";
import { signedHeaders } from "./signature.ts";

export interface WebhookPost {
  readonly url: string;
  readonly messageId: string;
  /** What comes before the result's body file, whose first byte is left out; see job-head.ts. */
  readonly head: Buffer;
  readonly result: TerminalResult;
  readonly secret: string;
  readonly timeoutMs: number;
  readonly allowPrivate: boolean;
  readonly allowHosts: readonly string[];
}

/** `never`: no try will help. `refused`: the receiver turned it down. `again`: it may work later. Reasons hold no part of the URL. */
export type PostOutcome =
  | { readonly type: "delivered" }
  | { readonly type: "never" | "refused"; readonly reason: string }
  | { readonly type: "again"; readonly reason: string; readonly afterMs?: number };

/** 4xx that mean "not now". */
const passing = new Set([408, 423, 425, 429]);

/** One try: the receiver's address is looked up, checked and pinned, the body is signed and sent from its file. Redirects are answers. */
export async function postWebhook(post: WebhookPost, { signal }: { signal: AbortSignal }): Promise<PostOutcome> {
  const url = new URL(post.url);
  const limited = AbortSignal.any([signal, AbortSignal.timeout(post.timeoutMs)]);
  try {
    const { allowPrivate, allowHosts } = post;
    const found = await resolvePublic(url.hostname, { allowPrivate, allowHosts, signal: limited });
    if (found.type === "refused") return { type: "never", reason: `its host is not allowed: ${found.reason}` };
    if (found.type === "unresolved") return { type: "again", reason: found.reason };
    const signed = await signedHeaders(post.messageId, bodyOf(post), { secret: post.secret, now: Date.now() });
    const headers = {
      "Content-Type": "application/json",
      "Content-Length": String(post.head.length + post.result.sizeBytes - 1),
      "User-Agent": `fettle/${version}`,
      ...signed,
    };
    return await exchange(url, { method: "POST", headers, lookup: pinTo(found.addresses), agent: false, signal: limited }, post);
  } catch (error) {
    if (limited.aborted && !signal.aborted) return { type: "again", reason: `no answer within ${post.timeoutMs} ms` };
    return { type: "again", reason: reasonOf(error) };
  }
}

async function exchange(url: URL, options: RequestOptions, post: WebhookPost): Promise<PostOutcome> {
  const send = url.protocol === "https:" ? requestHttps : requestHttp;
  const { hostname, port, pathname, search, username, password } = url;
  const credentials = username === "" && password === "" ? {} : { auth: `${decodeURIComponent(username)}:${decodeURIComponent(password)}` };
  const outgoing = send({ hostname: hostname.replace(/^\[(.*)\]$/, "$1"), port, path: pathname + search, ...credentials, ...options });
  const answered = new Promise<IncomingMessage>((resolve, reject) => void outgoing.once("response", resolve).once("error", reject));
  // Whoever answers before the end (413, 401) closes the connection under the rest: then the answer counts, not the break.
  const sent = pipeline(Readable.from(bodyOf(post)), outgoing).catch(() => {});
  try {
    const answer = await answered;
    answer.once("error", () => {});
    return outcomeOf(answer);
  } finally {
    outgoing.destroy();
    await sent;
  }
}

function outcomeOf({ statusCode = 0, headers }: IncomingMessage): PostOutcome {
  if (statusCode >= 200 && statusCode < 300) return { type: "delivered" };
  const reason = `HTTP ${statusCode}`;
  if (statusCode === 410) return { type: "never", reason: `${reason}: it wants no more` };
  if (statusCode >= 500 || passing.has(statusCode)) {
    const seconds = Number(headers["retry-after"] ?? Number.NaN);
    return { type: "again", reason, ...(seconds > 0 && { afterMs: Math.min(seconds, 3600) * 1000 }) };
  }
  return { type: "refused", reason: statusCode < 400 ? `${reason}: redirects are not followed` : reason };
}

async function* bodyOf({ head, result }: WebhookPost): AsyncGenerator<Uint8Array> {
  yield head;
  yield* createReadStream(result.bodyPath, { start: 1, highWaterMark: 131_072 }) as AsyncIterable<Uint8Array>;
}
