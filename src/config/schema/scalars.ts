import { z } from "zod";
import { parseDuration } from "../../util/duration.ts";

/** A duration with its unit (`200ms`, `2s`, `10m`), parsed to milliseconds. `0` needs no unit. */
export const duration = z
  .union([z.string(), z.literal(0), z.literal("0")])
  .transform((value, context) => {
    const ms = value === 0 || value === "0" ? 0 : parseDuration(value);
    if (ms !== undefined) return ms;
    context.addIssue({ code: "custom", message: `expected a duration such as 200ms, 2s or 10m, got "${value}"` });
    return z.NEVER;
  })
  .meta({ description: "A duration with its unit: 200ms, 2s, 10m, 1h." });

/** Booleans and numbers often arrive as text, because `${NAME}` is substituted in strings. */
export const flag = z.union([z.boolean(), z.enum(["true", "false", "1", "0", "yes", "no", "on", "off", ""]).transform((text) => ["true", "1", "yes", "on"].includes(text))]);

export const integer = (min: number, max: number) =>
  z.union([z.number(), z.string().regex(/^-?\d+$/, "expected a whole number").transform(Number)]).pipe(z.number().int().min(min).max(max));

export const port = integer(0, 65_535).meta({ description: "A TCP port; 0 lets the system choose a free one." });

export const sizeBytes = z
  .union([z.number().int().min(0), z.string()])
  .transform((value, context) => {
    if (typeof value === "number") return value;
    const match = /^(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)?$/i.exec(value.trim());
    const units: Record<string, number> = { b: 1, kb: 1e3, mb: 1e6, gb: 1e9, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3 };
    if (match) return Math.round(Number(match[1]) * (units[(match[2] ?? "B").toLowerCase()] ?? 1));
    context.addIssue({ code: "custom", message: `expected a size such as 20MB or 512MiB, got "${value}"` });
    return z.NEVER;
  })
  .meta({ description: "A size in bytes, or with a unit: 20MB, 512MiB." });

export const text = z.string().max(65_536);
export const name = z.string().regex(/^[a-z][a-z0-9-]{0,62}$/, "expected lower-case letters, digits and dashes, starting with a letter");
export const environment = z.record(z.string(), z.union([text, z.number(), z.boolean(), z.null()]).transform((value) => (value === null ? null : String(value))));
export const argv = z.array(z.union([text, z.number()]).transform(String));
