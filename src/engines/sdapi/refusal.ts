import type { AttemptResult } from "../engine.ts";
import { readFault } from "../faults.ts";

type Failed = Extract<AttemptResult, { type: "failed" }>;

const longestReason = 2000;

/** The failure behind a status that is no success. A1111, Forge and FastAPI word theirs differently; the text is the last resort. */
export function readRefusal(status: number, text: string): Failed {
  const { kind, reason, field } = readBody(text);
  const said = shorten(reason) || `HTTP ${status} without a reason`;
  const details = { status, ...(kind ? { error: kind } : {}), ...(field ? { field } : {}) };
  const failed = (code: Failed["code"], message: string, more: object = {}, retryable = false): Failed => ({
    type: "failed",
    code,
    message: `Cannot run the job: ${message.replace(/\.$/, "")}.`,
    retryable,
    details: { ...details, ...more },
  });
  if (status < 400) return failed("engine.bad-answer", `the engine answered with HTTP ${status}`);
  if (status < 500) return failed("engine.rejected", said, {}, status === 408 || status === 429);
  const fault = readFault(kind, reason);
  if (fault) return { ...failed(fault.code, said, {}, fault.retryable), ...(fault.remedy && { remedy: fault.remedy }) };
  if (kind === "NansException")
    return failed("engine.failed", said, { hint: "Start the engine with --no-half-vae, or --no-half; or use another VAE or checkpoint." });
  // A1111 raises this with 500 for what the caller did wrong, such as an image that cannot be decoded.
  if (kind === "HTTPException") return failed("engine.rejected", said);
  return failed("engine.failed", said);
}

interface Read {
  readonly kind: string;
  readonly reason: string;
  readonly field?: string;
}

/** In this order: JSON's `errors` with its `error`, then `detail` (text, or FastAPI's list), then `error` alone, then the text. */
function readBody(text: string): Read {
  const body = parseObject(text);
  if (!body)
    return {
      kind: "",
      reason: text
        .replace(/<[^>]*>/g, " ")
        .replace(/\s+/g, " ")
        .trim(),
    };
  const kind = typeof body["error"] === "string" ? body["error"] : "";
  const errors = body["errors"];
  if (typeof errors === "string" && errors !== "") return { kind, reason: kind && kind !== "HTTPException" ? `${kind}: ${errors}` : errors };
  const detail = body["detail"];
  if (typeof detail === "string" && detail !== "") return { kind, reason: detail };
  if (Array.isArray(detail) && detail.length > 0) return { kind, ...readDetails(detail) };
  return { kind, reason: kind || text };
}

/** FastAPI's `[{loc: ["body", "steps"], msg: "…"}]` → `steps: …; width: …`. */
function readDetails(details: readonly unknown[]): { reason: string; field?: string } {
  const faults = details.flatMap((one) => {
    if (typeof one !== "object" || one === null) return [];
    const { loc, msg } = one as { loc?: unknown; msg?: unknown };
    const path = Array.isArray(loc) ? loc.filter((part) => part !== "body" && part !== "__root__").join(".") : "";
    return [{ path, text: typeof msg === "string" ? msg : "is not valid" }];
  });
  const reason = faults.map(({ path, text }) => (path ? `${path}: ${text}` : text)).join("; ");
  const field = faults[0]?.path;
  return field ? { reason, field } : { reason };
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function shorten(text: string): string {
  return text.length > longestReason ? `${text.slice(0, longestReason)}…` : text;
}
