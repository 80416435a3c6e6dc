import { createHash, timingSafeEqual } from "node:crypto";
import type { Context, MiddlewareHandler } from "hono";
import { cors } from "hono/cors";
import { replyError } from "./replies.ts";

export interface GuardOptions {
  /** Empty: nobody is asked for a key. */
  readonly apiKey: string;
  /** The address it listens on. */
  readonly listen: string;
  readonly allowOrigins: readonly string[];
  readonly allowHosts: readonly string[];
}

/**
 * Who may ask. A web page in somebody's browser must not reach an API that asks for no key: its requests carry Origin or
 * Sec-Fetch-Site, and a name of its own that it had resolved to 127.0.0.1 stands in Host. Programs send none of these, so that curl and
 * every client goes on working, whatever content type it sends. With a key, a page without the key gets nothing anyway.
 */
export function guards(options: GuardOptions): readonly MiddlewareHandler[] {
  const { allowOrigins, apiKey } = options;
  const origin = allowOrigins.includes("*") ? "*" : [...allowOrigins];
  return [
    ...(allowOrigins.length > 0 ? [cors({ origin, allowHeaders: ["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"], maxAge: 600 })] : []),
    ...(apiKey === "" ? [refuseForeignPages(options)] : [requireKey(apiKey)]),
  ];
}

/** Lets a request pass only with `Authorization: Bearer KEY`; RunPod's clients send the key that way. */
function requireKey(key: string): MiddlewareHandler {
  const expected = digest(`Bearer ${key}`);
  return async (c, next) => {
    // Digests have one length, so that the comparison tells nothing about the key's.
    if (timingSafeEqual(digest(c.req.header("authorization") ?? ""), expected)) return await next();
    c.header("WWW-Authenticate", "Bearer");
    const hint = "Send the header `Authorization: Bearer KEY`, with the apiKey of sources.http.";
    return replyError(c, 401, { code: "job.unauthorized", message: "Cannot answer the request: it has no valid key.", hint });
  };
}

function refuseForeignPages({ listen, allowOrigins, allowHosts }: GuardOptions): MiddlewareHandler {
  const checksHost = isLoopback(listen);
  return async (c, next) => {
    const host = c.req.header("host") ?? "";
    if (checksHost && !isOwnName(nameOf(host), allowHosts)) return refuse(c, "its Host header names another machine");
    const origin = c.req.header("origin");
    if (origin !== undefined && !allowOrigins.includes("*") && !allowOrigins.includes(origin) && !isSame(origin, host)) {
      return refuse(c, "it comes from a web page of another origin");
    }
    const site = c.req.header("sec-fetch-site");
    if (origin === undefined && (site === "cross-site" || site === "same-site")) return refuse(c, "it comes from a web page of another origin");
    return await next();
  };
}

function refuse(c: Context, reason: string): Response {
  return replyError(c, 403, { code: "job.wrong-origin", message: `Cannot answer the request: ${reason}.` });
}

// By the whole of it: a name may begin like an address.
const isLoopback = (name: string): boolean => name === "localhost" || name === "::1" || /^127(\.\d{1,3}){3}$/.test(name);

const isOwnName = (name: string, allowed: readonly string[]): boolean =>
  name === "" || isLoopback(name) || name.endsWith(".localhost") || allowed.includes(name);

const nameOf = (host: string): string =>
  host
    .replace(/:\d+$/, "")
    .replace(/^\[(.*)\]$/, "$1")
    .toLowerCase();

const isSame = (origin: string, host: string): boolean => URL.canParse(origin) && new URL(origin).host === host.toLowerCase().replace(/:(80|443)$/, "");

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
