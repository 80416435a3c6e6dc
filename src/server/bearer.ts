import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import { replyError } from "./replies.ts";

/** Lets a request pass only with `Authorization: Bearer KEY`; RunPod's clients send the key that way. */
export function requireKey(key: string): MiddlewareHandler {
  const expected = digest(`Bearer ${key}`);
  return async (c, next) => {
    // Digests have one length, so that the comparison tells nothing about the key's.
    if (timingSafeEqual(digest(c.req.header("authorization") ?? ""), expected)) return await next();
    c.header("WWW-Authenticate", "Bearer");
    const hint = "Send the header `Authorization: Bearer KEY`, with the apiKey of sources.http.";
    return replyError(c, 401, { code: "job.unauthorized", message: "Cannot answer the request: it has no valid key.", hint });
  };
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
