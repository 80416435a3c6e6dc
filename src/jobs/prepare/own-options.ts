import { type Body, expected, type Invalid, isObject } from "./invalid.ts";
import { type JobOptions, usualOptions } from "./prepare.ts";

// RunPod takes 5 s to 7 days.
const longestDeadlineMs = 7 * 24 * 3_600_000;
const formats: Readonly<Record<string, NonNullable<JobOptions["format"]>>> = { png: "png", jpeg: "jpeg", jpg: "jpeg", webp: "webp" };

/** What a job says to fettle, taken out of what it says to its engine. No engine's API has these names. */
export function takeOptions(input: Body): { readonly type: "taken"; readonly options: JobOptions; readonly rest: Body } | Invalid {
  if (!("meta" in input || "format" in input || "quality" in input)) return { type: "taken", options: usualOptions, rest: input };
  const { meta, format, quality, ...rest } = input;
  if (!isAbsent(meta) && typeof meta !== "boolean") return expected("input.meta", "true or false", meta);
  const known = typeof format === "string" && Object.hasOwn(formats, format.toLowerCase()) ? formats[format.toLowerCase()] : undefined;
  if (!isAbsent(format) && known === undefined) return expected("input.format", "png, jpeg or webp", format);
  const isPercent = typeof quality === "number" && Number.isInteger(quality) && quality >= 1 && quality <= 100;
  if (!isAbsent(quality) && !isPercent) return expected("input.quality", "a whole number from 1 to 100", quality);
  const options = { ...usualOptions, meta: meta === true, ...(known && { format: known }), ...(isPercent && { quality }) };
  return { type: "taken", options, rest };
}

/** RunPod's `policy.executionTimeout`, ms, which stands beside the input. */
export function readDeadline(extra: Body): { readonly deadlineMs?: number } | Invalid {
  const { policy } = extra;
  if (isAbsent(policy)) return {};
  if (!isObject(policy)) return expected("policy", "an object", policy);
  const { executionTimeout: ms } = policy;
  if (isAbsent(ms)) return {};
  if (typeof ms !== "number" || !Number.isFinite(ms) || ms <= 0) return expected("policy.executionTimeout", "a number of milliseconds", ms);
  return { deadlineMs: Math.min(Math.ceil(ms), longestDeadlineMs) };
}

function isAbsent(value: unknown): value is null | undefined {
  return value === null || value === undefined;
}
