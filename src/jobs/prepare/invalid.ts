import type { ErrorCode } from "../../errors/catalog.ts";
import type { Failure } from "../finisher.ts";

/** Why a job cannot be run as it came. */
export interface Invalid {
  readonly type: "invalid";
  readonly failure: Failure & { readonly path: string };
}

/** `input.num_images: expected 1 or 2, not 7`. `reason` follows the path; it never holds a whole value of the caller's. */
export function invalid(path: string, reason: string, code: ErrorCode = "job.invalid"): Invalid {
  return { type: "invalid", failure: { code, path, message: `Cannot run the job: ${path}: ${reason}.` } };
}

export function expected(path: string, what: string, value: unknown): Invalid {
  return invalid(path, `expected ${what}, not ${show(value)}`);
}

export function isInvalid(value: object): value is Invalid {
  return "type" in value && value.type === "invalid";
}

/** A value in few words, for a person. */
export function show(value: unknown): string {
  if (value === null || typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value === "string") return value.length <= 40 ? JSON.stringify(value) : `${JSON.stringify(value.slice(0, 40))}…`;
  return Array.isArray(value) ? "a list" : "an object";
}

export type Body = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is Body {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
