import { Fault } from "./fault.ts";
import type { Opened } from "./open-url.ts";

/** What a status means that no provider explains. */
export function statusFault({ status, url, response }: Opened): Fault {
  const host = url.hostname;
  const retryAfterMs = retryAfter(response.headers["retry-after"]);
  if (status === 404 || status === 410)
    return new Fault("model.not-found", `${host} answers with HTTP ${status}: there is no such file`, { hint: "Check the address." });
  if (status === 401) return new Fault("model.unauthorized", `${host} answers with HTTP 401`, { hint: "It asks for a login." });
  if (status === 403)
    return new Fault("model.forbidden", `${host} answers with HTTP 403`, { hint: "A signed address may have expired, or a firewall refuses us." });
  if (status === 429)
    return new Fault("model.unreachable", `${host} asks to wait (HTTP 429)`, {
      passing: true,
      retryAfterMs,
      hint: "Too many requests; try later, or with a token.",
    });
  if (status === 408 || status >= 500) return new Fault("model.unreachable", `${host} answers with HTTP ${status}`, { passing: true, retryAfterMs });
  return new Fault("model.unreachable", `${host} answers with HTTP ${status}`);
}

/** Seconds or a date → ms from now, at most five minutes. */
function retryAfter(header: string | undefined): number | undefined {
  if (!header) return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) && ms > 0 ? Math.min(ms, 300_000) : undefined;
}
